#!/usr/bin/env bash
# Prove a new site in a few minutes: SLURM's commands, partition, GPU seen by torch, shared storage, equal versions on several nodes,
# workers that reach the scheduler, four tiles solved. Says what is missing; exit status 0 when all is well.
#
#   cluster/smoke.sh run.yaml
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 run.yaml   (a configuration with executor.kind: slurm)" >&2; exit 2; }
command -v "${SSI:=ssi}" >/dev/null || { echo "ssi not found: activate its environment first, or set SSI=/path/to/ssi" >&2; exit 2; }
for program in sbatch squeue scancel scontrol sinfo; do
  command -v "$program" >/dev/null || { echo "$program not found: run this on a login node of the cluster" >&2; exit 2; }
done
"$SSI" --version
sinfo -o "%R %a %l %D %G" | head -n 20
echo
exec "$SSI" cluster check "$1"
