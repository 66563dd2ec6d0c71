#!/usr/bin/env bash
# Check a GPU in about ten minutes, from the root of the repository, with an environment that has torch for CUDA:
#
#     PYTHON=.venv/bin/python benchmarks/gpu_check.sh [folder]
#
# The folder gets gpu_check.json, the log, and the use of the GPU each half second.
set -o pipefail
python=${PYTHON:-python3}
folder=${1:-build/gpu}
mkdir -p "$folder"
cd "$(dirname "$0")/.." || exit
export PYTHONUNBUFFERED=1 PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv || exit
nvidia-smi --query-gpu=timestamp,utilization.gpu,memory.used --format=csv,noheader,nounits -lms 500 >"$folder/use.csv" &
sampler=$!
trap 'kill $sampler' EXIT
timeout 590 "$python" benchmarks/gpu_check.py --output "$folder/gpu_check.json" 2>&1 | tee "$folder/gpu_check.log"
