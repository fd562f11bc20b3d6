#!/bin/bash
# Nodes for a running service of xnas-ray.
# The folder of its log must exist; `xnas slurm` makes it.
#SBATCH --job-name=xnas-worker
#SBATCH --array=0-3
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=240
#SBATCH --output=/shared/lab/results/slurm/%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR2@120

umask 077

# The environment.
source '/shared/my venv/bin/activate'

# What the parameters say.
root=/shared/lab/results
cpus=8
gpus=0
object_store_bytes=1073741824
interface=''
temporary_root=/tmp
limit_s=14400
signal_s=120
drain_s=10
max_timeouts=3
stagger_s=60

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
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0 RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S="$drain_s"
ulimit -n "$(ulimit -Hn)"

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

# Run on a node, with the folder of Ray and a command: whoever made that folder first may read what is in it.
on_node='mkdir -p -m 700 -- "$1" && [ -O "$1" ] && [ ! -L "$1" ] || { echo "$1 is not ours" >&2; exit 1; }
shift; exec "$@"'

# Run on a node when all is over: what Ray logged goes to the store, but for large files; then its folder goes.
clear_node='cd -- "$1/$2" 2>/dev/null || exit 0
find . -path "*/logs/*" -type f ! -empty -size -2048k -exec cp --parents -t "$3" {} +
cd / && rm -rf -- "$1/$2" && rmdir -- "$1"'

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

# Queues the job again unless it was cancelled; time limits are counted over all its starts, preemptions are not.
queue_again() { # reason
  local timeouts
  say "over: $1"
  if [ "$1" = cancelled ]; then return 1; fi
  echo "$restarts $1" >>"$folder/ends"
  timeouts=$(sort -u "$folder/ends" | grep -c ' timeout$')
  if [ "$1" = timeout ] && [ "$timeouts" -gt "$max_timeouts" ]; then
    say "the time was over $timeouts times; this was the last (max_timeouts = $max_timeouts)"
    return 1
  fi
  say "queueing again"
  scontrol requeue "$job"
}

# ---- a node for a running service ----------------------------------------------------------------------------------
# The service is found through the store, and again after it was queued again elsewhere. The jobs of an array end one
# after the other, so that a service never loses many nodes at once.

end_s=0
if [ "$limit_s" -gt 0 ]; then
  end_s=$((limit_s - signal_s - stagger_s * (${SLURM_ARRAY_TASK_ID:-0} % 8)))
  if [ "$end_s" -lt $((limit_s / 2)) ]; then end_s=$((limit_s / 2)); fi
fi
code=0
failures=0
over=
while ! is_over && [ "$failures" -lt 5 ]; do
  left_s=0 # no end
  if [ "$end_s" -gt 0 ]; then left_s=$((end_s - SECONDS)); fi
  if [ "$end_s" -gt 0 ] && [ "$left_s" -le 0 ]; then
    over=timeout
    break
  fi
  python -m xnas_ray.commands.slurm_job endpoint --root "$root" >"$folder/endpoint" &
  work=$!
  wait_for_work
  if is_over; then break; fi
  if [ "$code" != 0 ]; then
    say "there is no service to join"
    code=0
    break
  fi
  mapfile -t found <"$folder/endpoint" # the address, the token's path
  export RAY_AUTH_TOKEN_PATH="${found[1]}"
  say "joining the service at ${found[0]}"
  began=$SECONDS
  timeout --signal=TERM --kill-after=$((drain_s + 30)) "$left_s" \
    bash -c "$on_node" bash "$scratch" ray start --address="${found[0]}" --block \
    --node-ip-address="$(address_of "$SLURMD_NODENAME")" \
    --dashboard-agent-listen-port=0 --min-worker-port=0 --max-worker-port=0 \
    --num-cpus="$cpus" --num-gpus="$gpus" --object-store-memory="$object_store_bytes" \
    --labels="slurm_node=$SLURMD_NODENAME" --temp-dir="$scratch/0" --disable-usage-stats >>"$folder/ray.log" 2>&1 &
  work=$!
  wait_for_work
  code=0
  if [ $((SECONDS - began)) -lt 60 ]; then failures=$((failures + 1)); else failures=0; fi
done
if [ "$failures" = 5 ]; then
  say "Ray ended here $failures times in a row; see $folder/ray.log"
  code=1
fi
mkdir -p "$folder/ray"
bash -c "$clear_node" bash "$scratch" 0 "$folder/ray" >/dev/null 2>&1
if is_over; then over=$(reason); fi
if [ -n "$over" ] && queue_again "$over"; then exit 0; fi
exit "$code"
