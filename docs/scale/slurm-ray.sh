#!/bin/bash
# A Ray cluster on the nodes of one job, and a command on it.
#   sbatch --nodes=4 docs/scale/slurm-ray.sh evaluate DATA -m MODEL -t attentive -o runs/mine
#SBATCH --job-name=vitascope-ray
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --output=vitascope-ray-%j.log
set -euo pipefail
export RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
head=$(hostname --ip-address | cut -d' ' -f1) port=${RAY_PORT:-6379}
trap 'kill $(jobs -p) 2> /dev/null; wait' EXIT # not `ray stop`, which would end the clusters of other jobs, too
ray start --head --node-ip-address="$head" --port="$port" --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --disable-usage-stats \
  --include-dashboard=false --block > /dev/null &
until ray status --address="$head:$port" > /dev/null 2>&1; do kill -0 $!; sleep 1; done
if [ "${SLURM_NNODES:-1}" -gt 1 ]; then
  srun --nodes=$((SLURM_NNODES - 1)) --ntasks=$((SLURM_NNODES - 1)) --exclude="$(hostname -s)" \
    ray start --address="$head:$port" --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --disable-usage-stats --block &
fi
RAY_ADDRESS=$head:$port vitascope "$@" --on ray
