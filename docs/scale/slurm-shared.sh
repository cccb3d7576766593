#!/bin/bash
# Several processes fill one store, on a file system with locks (Lustre with -o flock, NFS 4, GPFS, BeeGFS).
#   sbatch docs/scale/slurm-shared.sh DATA MODEL STORE
# Tasks may be added (submit it again) and cancelled at any time; the last ones wait for each other's blocks.
#SBATCH --job-name=vitascope
#SBATCH --array=1-8
#SBATCH --cpus-per-task=8
#SBATCH --requeue
#SBATCH --output=vitascope-%A_%a.log
# for a GPU each: sbatch --gpus-per-task=1 ...
set -euo pipefail
vitascope embed "$1" -m "$2" --store "$3" --workers "${SLURM_CPUS_PER_TASK:-1}"
