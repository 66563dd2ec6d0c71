#!/usr/bin/env bash
# Test a new site in a few minutes: SLURM's commands, partition, GPUs visible to torch, shared storage, equal versions on
# several nodes, connection of workers to the scheduler, four solved tiles. Exit status 0 if all checks pass.
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
