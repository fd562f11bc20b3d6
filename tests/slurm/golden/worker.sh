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
max_timeouts=3
drain_s=60
checkpoint_s=15
longest_s=14280
spacing_ms=60000

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

# ---- a node for a running service ----------------------------------------------------------------------------------
# The service is found through the store, and again after it was queued again elsewhere. The jobs of an array end one
# after the other, so that a service never loses many nodes at once.

rm -f "$folder/leaving" # of an earlier start: it was told to leave, and now it comes
life_s=0                # no end
if [ "$longest_s" -gt 0 ]; then life_s=$((longest_s - ${SLURM_ARRAY_TASK_ID:-0} * spacing_ms / 1000)); fi
must_go() { is_over || { [ "$life_s" -gt 0 ] && [ "$SECONDS" -ge "$life_s" ]; }; }

# Seconds for a node that leaves: drain_s for trials to finish and some for checkpoints, but done before Slurm ends the
# job, which a preemption makes earlier than the time limit.
seconds_to_leave() {
  local end_s found=$((drain_s + checkpoint_s))
  end_s=$(scontrol show job --oneliner "$job" | grep -o ' EndTime=[^ ]*')
  if end_s=$(date -d "${end_s#*=}" +%s 2>/dev/null); then
    end_s=$((end_s - $(date +%s) - 5))
    if [ "$end_s" -lt "$found" ]; then found=$end_s; fi
  fi
  printf '%s\n' $((found > 1 ? found : 1))
}

# Waits for work, a node of the service at host and port. Once it must go it is marked as draining: the service gives it
# no more trials, those that run finish or move, and Ray ends there as soon as it is empty. At the deadline it is ended,
# and at once where nobody answers: then there is nothing to move to.
leave_service() { # host port
  local ask='' last_s='' left_s looked_s=0 silences=0
  while kill -0 "$work" 2>/dev/null; do
    if must_go; then
      if [ -z "$last_s" ]; then
        left_s=$(seconds_to_leave)
        last_s=$((SECONDS + left_s))
        say "this node leaves within $left_s s"
        python -m xnas_ray.commands.slurm_job leave --address "$1:$2" --job "$job" --until $(($(date +%s) + left_s)) &
        ask=$!
      elif [ -n "$ask" ] && ! kill -0 "$ask" 2>/dev/null; then
        wait "$ask" || last_s=$SECONDS
        ask=
      fi
      if [ "$looked_s" != "$SECONDS" ]; then
        looked_s=$SECONDS
        if is_open "$1" "$2"; then silences=0; else silences=$((silences + 1)); fi
        if [ "$silences" = 3 ]; then last_s=$SECONDS; fi
      fi
      if [ "$SECONDS" -ge "$last_s" ]; then kill -TERM "$work" 2>/dev/null; fi
      if [ "$SECONDS" -ge $((last_s + 10)) ]; then kill -KILL "$work" 2>/dev/null; fi
    fi
    pause
  done
  if [ -n "$ask" ]; then kill -KILL "$ask" 2>/dev/null; fi
  wait
}

code=0
failures=0
over=
while ! must_go && [ "$failures" -lt 5 ]; do
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
  bash -c "$on_node" bash "$scratch" 0 "$folder/ray" ray start --address="${found[0]}" --block \
    --node-ip-address="$(address_of "$SLURMD_NODENAME")" \
    --dashboard-agent-listen-port=0 --min-worker-port=0 --max-worker-port=0 \
    --num-cpus="$cpus" --num-gpus="$gpus" --object-store-memory="$object_store_bytes" \
    --labels="slurm_node=$SLURMD_NODENAME,slurm_job=$job" --temp-dir="$scratch/0" --disable-usage-stats \
    >>"$folder/ray.log" 2>&1 &
  work=$!
  leave_service "${found[0]%:*}" "${found[0]##*:}"
  if [ $((SECONDS - began)) -lt 60 ]; then failures=$((failures + 1)); else failures=0; fi
done
if is_over; then
  over=$(reason)
elif must_go; then
  over=timeout
elif [ "$failures" = 5 ]; then
  say "Ray ended here $failures times in a row; see $folder/ray.log"
  code=1
fi
bash -c "$on_node" bash "$scratch" 0 "$folder/ray" >/dev/null 2>&1
if [ -n "$over" ] && queue_again "$over"; then exit 0; fi
exit "$code"
