#!/bin/bash
# A standing service of xnas-ray: searches are queued into it with `xnas submit`.
# The folder of its log must exist; `xnas slurm` makes it.
#SBATCH --job-name=xnas-service
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --mem=65536M
#SBATCH --time=240
#SBATCH --partition=gpu
#SBATCH --output=/shared/lab/results/slurm/%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR2@120

umask 077

# The environment.
export PATH=/shared/venv/bin:"$PATH"

# What the parameters say.
root=/shared/lab/results
cpus=16
gpus=4
object_store_bytes=1073741824
interface=''
temporary_root=/tmp
limit_s=14400
signal_s=120
max_timeouts=3
dashboard=true
profile=''

# ---- this job ------------------------------------------------------------------------------------------------------

set +e
set -uo pipefail
say() { printf '%s xnas: %s\n' "$(date '+%F %T')" "$*"; }

for program in python ray; do
  command -v "$program" >/dev/null && continue
  say "there is no $program on PATH: see the parameters environment and setup"
  exit 1
done

job=$SLURM_JOB_ID
restarts=${SLURM_RESTART_COUNT:-0}
# Of this job in the store, beside its log; and on each node, short, for paths of sockets may have 107 bytes.
folder="$root/slurm/${SLURM_ARRAY_JOB_ID:-$job}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
scratch="$temporary_root/xr$job"
mkdir -p "$folder" || exit 1
if [ "$restarts" = 0 ]; then rm -f "$folder/ends"; fi
say "job $job on $SLURM_JOB_NODELIST, start $((restarts + 1))"

# Nothing of the login shell may lead Ray elsewhere, and nobody without a token may use it.
unset RAY_ADDRESS RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH RAY_TMPDIR
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
# Nodes drain before they are told to end (see leave_service), not once more afterwards.
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0 RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
export RAY_metric_cardinality_level=low # tasks are named like trials: no time series for each
ulimit -n "$(ulimit -Hn)"

is_open() { timeout 3 bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$1" "$2" 2>/dev/null; } # host port

# One process of one node, beside the others of this job.
export SRUN_CPUS_PER_TASK="$cpus" # srun takes it from the job no more, since Slurm 22.05
step=(srun --overlap --nodes=1 --ntasks=1 --cpus-per-task="$cpus" --mem=0 --input=none --kill-on-bad-exit=0)

# The address by which Slurm reaches a node, or that of an interface on the node.
address_of() { # node
  local found
  if [ -n "$interface" ]; then
    "${step[@]}" --nodelist="$1" env PATH="$PATH:/usr/sbin:/sbin" ip -4 -o address show dev "$interface" |
      awk '{ sub("/.*", "", $4); print $4; exit }'
    return
  fi
  found=$(scontrol show node --oneliner "$1" | grep -o ' NodeAddr=[^ ]*')
  found=${found#*=}
  case "$found" in
    *[!0-9.]*)
      found=$(getent ahostsv4 "$found" | awk '{ print $1; exit }')
      # Some machines call themselves 127.0.1.1; no other one reaches them by that.
      case "$found" in 127.*) found=$(hostname -I | awk '{ print $1 }') ;; esac
      ;;
  esac
  printf '%s\n' "$found"
}

# Run on a node, with this job's folder there, its own place in that folder, where logs go, and a command; without a
# command it only tidies up. First it ends and removes what others of ours left there: an earlier step that was killed,
# jobs that are gone. Afterwards, also after scancel, it removes what the command left.
on_node='scratch=$1 place="$1/$2" logs="$3/$2" root=${1%/*}
shift 3
ours() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ]; }
sweep() { # place: processes that were started for it end
  local process
  for process in $(grep -lszxF "XNAS_PLACE=$1" /proc/[0-9]*/environ); do
    process=${process%/environ}
    if [ -O "$process" ]; then kill -KILL "${process#/proc/}" 2>/dev/null; fi
  done
}
tidy() { # what Ray logged goes to the store, but for large files
  sweep "$place"
  cd -- "$place" 2>/dev/null || return
  mkdir -p -- "$logs" &&
    find . -path "*/logs/*" -type f ! -empty -size -2048k -exec cp --parents -t "$logs" {} + 2>/dev/null
  cd / && rm -rf -- "$place"
}
is_gone() { # job: whether Slurm has done with it, or forgotten it
  local told
  told=$(scontrol show job --oneliner "$1" 2>&1) || { [[ $told = *"Invalid job id"* ]]; return; }
  told=$(grep "^JobId=$1 " <<<"$told") # of an array it tells of every task
  [[ $told =~ " JobState="(BOOT_FAIL|CANCELLED|COMPLETED|DEADLINE|FAILED|NODE_FAIL|OUT_OF_MEMORY|TIMEOUT)" " ]]
}
for other in "$root"/xr*; do
  number=${other##*/xr}
  if [ "$other" = "$scratch" ] || [[ ! $number =~ ^[0-9]+$ ]] || ! ours "$other"; then continue; fi
  if ! is_gone "$number"; then continue; fi
  for left in "$other"/*; do sweep "$left"; done
  rm -rf -- "$other"
done
# Whoever made the folder first may read what is in it.
mkdir -p -m 700 -- "$scratch" && ours "$scratch" || { echo "$scratch is not ours" >&2; exit 1; }
tidy
code=0
if [ "$#" -gt 0 ]; then
  child=
  trap "kill -TERM \$child 2>/dev/null" TERM
  XNAS_PLACE="$place" "$@" &
  child=$!
  wait "$child"
  code=$?
  while kill -0 "$child" 2>/dev/null; do # that was our own signal
    wait "$child"
    code=$?
  done
fi
tidy
rmdir -- "$scratch" 2>/dev/null
exit "$code"'

# ---- signals -------------------------------------------------------------------------------------------------------
# USR2 reaches this shell alone, before the time limit or a preemption; TERM comes from scancel. Either way the program
# that the job is for (work) stops cleanly: searches write checkpoints, the store is flushed and set free.

# Traps only take notes: bash forgets signals that meet one of its waits together.

signalled_s= # when USR2 came
cancelled=
trap 'signalled_s=$SECONDS' USR2
trap 'cancelled=1' TERM INT
is_over() { [ -n "$signalled_s$cancelled" ]; }

exec {silence}<> <(:) # nobody writes there: a way to sleep without another process
pause() { read -r -t 0.1 -u "$silence"; }

# Waits for work, whose exit code becomes ours. Once the job is over work is asked to stop; if it hangs it is killed, so
# that there is time to queue again.
wait_for_work() {
  local last_s=
  while kill -0 "$work" 2>/dev/null; do
    if is_over; then
      if [ -z "$last_s" ]; then last_s=$((SECONDS + (signal_s > 60 ? signal_s - 30 : signal_s / 2))); fi
      if [ "$SECONDS" -lt "$last_s" ]; then kill -TERM "$work"; else kill -KILL "$work"; fi 2>/dev/null
    fi
    pause
  done
  wait "$work"
  code=$?
  # Ended by what it was asked with: before it could listen, or, Python, while it was ending already.
  if is_over && [ "$code" = 143 ]; then code=0; fi
}

# Why the job is over: where Slurm knows of a preemption, that; else, as submitit does, by the time that had passed
# (Slurm sends its signal up to a minute early).
reason() {
  if [ -z "$signalled_s" ]; then
    echo cancelled
  elif scontrol show job --oneliner "$job" | grep -q ' PreemptTime=[0-9]'; then
    echo preempted
  elif [ "$limit_s" -gt 0 ] && [ "$signalled_s" -ge $((limit_s - signal_s - 90)) ]; then
    echo timeout
  else
    echo preempted
  fi
}

# Queues the job again unless it was cancelled; time limits are counted over all its starts, and so are ends of Ray that
# nobody asked for, preemptions are not.
queue_again() { # reason
  local times
  say "over: $1"
  if [ "$1" = cancelled ]; then return 1; fi
  echo "$restarts $1" >>"$folder/ends"
  times=$(sort -u "$folder/ends" | grep -c " $1\$")
  if [ "$1" = timeout ] && [ "$times" -gt "$max_timeouts" ]; then
    say "the time was over $times times; this was the last (max_timeouts = $max_timeouts)"
    return 1
  fi
  if [ "$1" = lost ] && [ "$times" -gt 3 ]; then
    say "Ray's head was lost $times times; see $folder/ray-head.log"
    return 1
  fi
  say "queueing again"
  scontrol requeue "$job"
}

# ---- Ray -----------------------------------------------------------------------------------------------------------

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
steps=()

# The token of this start; a new name each time, since other machines may remember the old file.
token="$folder/token-$restarts"
rm -f "$folder"/token-*
(umask 077 && od -An -vtx1 -N32 /dev/urandom | tr -d ' \n' >"$token") || exit 1
export RAY_AUTH_TOKEN_PATH="$token"

end_steps() {
  local pid
  while [ -n "$(jobs -pr)" ]; do
    for pid in "${steps[@]}"; do kill -TERM "$pid" 2>/dev/null; done
    pause
  done
}

# Steps tidy up after themselves; this is for those that were killed.
clear_nodes() {
  local index pids=()
  for index in "${!nodes[@]}"; do
    if [ "$index" = 0 ]; then continue; fi # this node: also after scancel, when no step can be started any more
    timeout 20 "${step[@]}" --nodelist="${nodes[index]}" bash -c "$on_node" bash "$scratch" "$index" "$folder/ray" &
    pids+=("$!")
  done
  for index in 0 head; do bash -c "$on_node" bash "$scratch" "$index" "$folder/ray"; done
  if [ "${#pids[@]}" -gt 0 ]; then wait "${pids[@]}"; fi
} >/dev/null 2>&1

leave() { # exit code
  local lost=
  # The queue's home is gone: the next start has a new one, and goes on.
  if ! is_over && [ "$1" != 0 ] && [ -n "$head_is_up" ] && ! kill -0 "${steps[0]}" 2>/dev/null; then lost=1; fi
  end_steps
  clear_nodes
  rm -f "$token"
  if is_over && queue_again "$(reason)"; then exit 0; fi
  if [ -n "$lost" ] && queue_again lost; then exit 0; fi
  exit "$1"
}

head_is_up=
# Ray's head without CPUs and GPUs: it takes no trial, so a crash of those leaves the queue alone.
head=$(address_of "${nodes[0]}")
port=$((20000 + job % 2000 * 6))
while is_open "$head" "$port" || is_open 127.0.0.1 $((port + 1)) || is_open "$head" $((port + 2)); do
  port=$((port + 3)) # another job of this node has them
done
"${step[@]}" --nodelist="${nodes[0]}" bash -c "$on_node" bash "$scratch" head "$folder/ray" \
  ray start --head --block --node-ip-address="$head" --port="$port" --ray-client-server-port=$((port + 2)) \
  --include-dashboard="$dashboard" --dashboard-host=127.0.0.1 --dashboard-port=$((port + 1)) \
  --dashboard-agent-listen-port=0 --min-worker-port=0 --max-worker-port=0 \
  --num-cpus=0 --num-gpus=0 --object-store-memory=134217728 \
  --temp-dir="$scratch/head" --disable-usage-stats >>"$folder/ray-head.log" 2>&1 &
steps+=("$!")
until is_open "$head" "$port"; do
  if is_over; then leave 0; fi
  if ! kill -0 "${steps[0]}" 2>/dev/null; then
    say "Ray's head did not come up; the end of $folder/ray-head.log:"
    tail -n 20 "$folder/ray-head.log"
    leave 1
  fi
  sleep 0.2
done
head_is_up=1
say "Ray's head is up at $head:$port"
if [ "$dashboard" = true ]; then
  say "its dashboard, from your machine: ssh -N -J $SLURM_SUBMIT_HOST -L 8265:127.0.0.1:$((port + 1)) ${nodes[0]}"
fi

# A worker step a node. One that ends is started again, unless that happened five times in a row within a minute; a node
# that comes late joins when it comes.
keep_node() { # index
  local node=${nodes[$1]} address failures=0 began step_pid ending='' last_s=''
  trap 'ending=1' TERM
  while [ -z "$ending" ] && [ "$failures" -lt 5 ]; do
    began=$SECONDS
    address=$(address_of "$node")
    "${step[@]}" --nodelist="$node" bash -c "$on_node" bash "$scratch" "$1" "$folder/ray" \
      ray start --address="$head:$port" --block --node-ip-address="$address" \
      --dashboard-agent-listen-port=0 --min-worker-port=0 --max-worker-port=0 \
      --num-cpus="$cpus" --num-gpus="$gpus" --object-store-memory="$object_store_bytes" \
      --labels="slurm_node=$node" --temp-dir="$scratch/$1" --disable-usage-stats >>"$folder/ray-$node.log" 2>&1 &
    step_pid=$!
    while kill -0 "$step_pid" 2>/dev/null; do
      if [ -n "$ending" ]; then
        if [ -z "$last_s" ]; then last_s=$((SECONDS + 15)); fi # srun hangs when the node does
        if [ "$SECONDS" -lt "$last_s" ]; then kill -TERM "$step_pid"; else kill -KILL "$step_pid"; fi 2>/dev/null
      fi
      pause
    done
    if [ -n "$ending" ]; then return; fi
    if [ $((SECONDS - began)) -lt 60 ]; then failures=$((failures + 1)); else failures=1; fi
    say "Ray ended on $node; see $folder/ray-$node.log"
    sleep $((2 * failures))
  done
  if [ -z "$ending" ]; then say "$node is left out: Ray ended there $failures times in a row"; fi
}

for index in "${!nodes[@]}"; do
  keep_node "$index" &
  steps+=("$!")
done

# ---- the service ---------------------------------------------------------------------------------------------------

python -m xnas_ray.commands.slurm_job service --root "$root" --address "$head:$port" ${profile:+--profile "$profile"} &
work=$!
wait_for_work
leave "$code"
