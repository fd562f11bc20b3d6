#!/usr/bin/env bash
# A real Slurm on this one machine: a controller and a few nodes, for the tests and for trying things out.
#
#   eval "$(slurm/dev/up.sh --print)"     what to export; starts nothing
#   slurm/dev/up.sh                       start what does not run yet; may be repeated
#   slurm/dev/down.sh [--purge]           end it
#
# Everything lives in one folder; no system service and no file elsewhere is touched. Settings, from the environment:
#   DEV_SLURM_DIR    that folder, short, for its sockets           (/tmp/xnas-slurm)
#   DEV_SLURM_NODES  nodes                                         (3)
#   DEV_SLURM_CPUS   CPUs of a node, more than real ones are fine  (4)
#   DEV_SLURM_MB     memory of a node                              (6000)
#   DEV_SLURM_GPUS   pretended GPUs of a node, at least one        (2)
#   DEV_SLURM_PORT   of the controller; nodes have those after it  (17850)
set -euo pipefail

base=${DEV_SLURM_DIR:-/tmp/xnas-slurm}
count=${DEV_SLURM_NODES:-3}
cpus=${DEV_SLURM_CPUS:-4}
memory_mb=${DEV_SLURM_MB:-6000}
gpus=${DEV_SLURM_GPUS:-2}
port=${DEV_SLURM_PORT:-17850}
host=$(hostname -s)
nodes="xn[1-$count]"

export SLURM_CONF="$base/slurm.conf"
if [ "${1:-}" = --print ]; then
  printf 'export SLURM_CONF=%q\n' "$SLURM_CONF"
  exit 0
fi

say() { printf 'slurm/dev: %s\n' "$*" >&2; }

# Whether the process of a pid file runs and is the program that it should be; one that nobody has reaped yet is gone.
runs() { # program pid-file
  local pid
  pid=$(cat "$2" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] &&
    ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null
}

install_packages() {
  local program missing=0
  for program in slurmctld slurmd sbatch munged; do
    command -v "$program" >/dev/null || missing=1
  done
  if [ "$missing" = 0 ]; then return; fi
  if ! command -v apt-get >/dev/null; then
    say "Slurm is not installed: see that slurmctld, slurmd, sbatch and munged are there"
    exit 1
  fi
  say "installing slurmctld, slurmd, slurm-client and munge"
  apt-get update -qq
  # Packages start their daemons by default; these must not run.
  local policy=/usr/sbin/policy-rc.d ours=0
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    ours=1
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    slurmctld slurmd slurm-client munge >"$base/log/apt.log" 2>&1 || { tail -n 20 "$base/log/apt.log" >&2; exit 1; }
  if [ "$ours" = 1 ]; then rm -f "$policy"; fi
}

# Credentials: a munged of our own, with its own key and socket, beside any that the machine has.
start_munge() {
  if [ ! -s "$base/munge.key" ]; then (umask 077 && head -c 1024 /dev/urandom >"$base/munge.key"); fi
  runs munged "$base/run/munged.pid" && return
  rm -f "$base/run/munge.sock" "$base/run/munge.sock.lock"
  munged --force --num-threads=2 --key-file="$base/munge.key" --socket="$base/run/munge.sock" \
    --pid-file="$base/run/munged.pid" --log-file="$base/log/munged.log" --seed-file="$base/run/munged.seed" \
    2>>"$base/log/munged.err"
}

# Devices that stand for GPUs: Slurm counts and hands them out; behind them is /dev/null.
make_gpus() {
  local i
  for ((i = 0; i < gpus; i++)); do
    [ -e "$base/dev/nvidia$i" ] || mknod -m 666 "$base/dev/nvidia$i" c 1 3
  done
}

write_configuration() {
  local i
  {
    cat <<CONF
ClusterName=xnas
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# Credentials that expire soon let a requeued job start again after seconds instead of two minutes.
AuthInfo=socket=$base/run/munge.sock,cred_expire=5
StateSaveLocation=$base/state
SlurmdSpoolDir=$base/spool/%n
SlurmctldPidFile=$base/run/slurmctld.pid
SlurmdPidFile=$base/run/slurmd.%n.pid
SlurmctldLogFile=$base/log/slurmctld.log
SlurmdLogFile=$base/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
# More CPUs than the machine has are allowed.
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
# Jobs of a lower partition are requeued for those of a higher one, after their own signal and GraceTime.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
KillWait=5
MinJobAge=600
ReturnToService=2
SlurmdTimeout=20
SlurmctldTimeout=20
InactiveLimit=0
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=100000
CONF
    for ((i = 1; i <= count; i++)); do
      # Each node has a loopback address of its own, so that Ray takes them for different machines.
      printf 'NodeName=xn%d NodeHostname=%s NodeAddr=127.0.0.%d Port=%d CPUs=%d RealMemory=%d Gres=gpu:fake:%d State=UNKNOWN\n' \
        "$i" "$host" "$((i + 1))" "$((port + i))" "$cpus" "$memory_mb" "$gpus"
    done
    printf 'PartitionName=main Nodes=%s Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=20\n' "$nodes"
    printf 'PartitionName=urgent Nodes=%s MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF\n' "$nodes"
  } >"$base/slurm.conf.new"
  changed=1
  if cmp -s "$base/slurm.conf.new" "$base/slurm.conf"; then changed=0; fi
  mv "$base/slurm.conf.new" "$base/slurm.conf"
  printf 'NodeName=%s Name=gpu Type=fake File=%s/dev/nvidia[0-%d]\n' "$nodes" "$base" "$((gpus - 1))" >"$base/gres.conf"
  printf 'CgroupPlugin=cgroup/v1\nConstrainCores=no\nConstrainRAMSpace=no\nConstrainDevices=no\n' >"$base/cgroup.conf"
}

start_daemons() {
  local i
  if runs slurmctld "$base/run/slurmctld.pid"; then
    if [ "$changed" = 1 ]; then scontrol reconfigure || true; fi
  else
    slurmctld -f "$base/slurm.conf"
  fi
  for ((i = 1; i <= count; i++)); do
    runs slurmd "$base/run/slurmd.xn$i.pid" && continue
    mkdir -p "$base/spool/xn$i"
    slurmd -N "xn$i" -f "$base/slurm.conf"
  done
}

wait_for_nodes() {
  local look up=0
  for ((look = 0; look < 240; look++)); do
    up=$(sinfo -h -N -p main -o '%t' 2>/dev/null | grep -cxE 'idle|mix|alloc' || true)
    if [ "$up" = "$count" ]; then return; fi
    # Nodes that were down when they were last seen come back on request.
    if [ "$look" = 20 ]; then scontrol update "NodeName=$nodes" State=RESUME 2>/dev/null || true; fi
    sleep 0.25
  done
  say "only $up of $count nodes are up; see $base/log"
  exit 1
}

if [ "$(id -u)" != 0 ]; then
  say "only root can start daemons that run the jobs of others; try it in a container"
  exit 1
fi
mkdir -p "$base"/{state,spool,log,run,dev}
chmod 755 "$base"
install_packages
start_munge
make_gpus
write_configuration
start_daemons
wait_for_nodes
say "$count nodes are up: export SLURM_CONF=$SLURM_CONF"
