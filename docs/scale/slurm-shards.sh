#!/bin/bash
# Every task fills a store of its own: no locks are needed. Then one job merges them.
#   docs/scale/slurm-shards.sh DATA MODEL STORE [SHARDS]          (not by sbatch: it submits two jobs)
# Arguments of the environment, such as SBATCH_GPUS_PER_TASK=1, apply to both. Rerun it where a shard failed.
set -euo pipefail
data=$1 model=$2 store=$3 shards=${4:-8}
array=$(sbatch --parsable --job-name=vitascope --array="1-$shards" --requeue --output=vitascope-%A_%a.log <<END
#!/bin/bash
exec vitascope embed "$data" -m "$model" --store "$store.parts/\$SLURM_ARRAY_TASK_ID" \
  --shard "\$SLURM_ARRAY_TASK_ID/$shards" --workers "\${SLURM_CPUS_PER_TASK:-1}"
END
)
merge=$(sbatch --parsable --job-name=vitascope-merge --dependency="afterok:$array" --output=vitascope-%j.log <<END
#!/bin/bash
exec vitascope merge "$store" "$store".parts/*
END
)
echo "array $array, then merge $merge"
