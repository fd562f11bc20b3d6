#!/usr/bin/env bash
# End the Slurm that up.sh started: its jobs first, then the processes of its pid files and nothing else.
# --purge also removes its folder.
set -uo pipefail

base=${DEV_SLURM_DIR:-/tmp/xnas-slurm}
export SLURM_CONF="$base/slurm.conf"

pid_of() { # program pid-file: the pid if the process runs and is that program
  local pid
  pid=$(cat "$2" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] &&
    ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null && echo "$pid"
}

stop() { # program pid-file
  local pid try
  if pid=$(pid_of "$1" "$2"); then
    kill "$pid" 2>/dev/null
    for ((try = 0; try < 50; try++)); do
      pid_of "$1" "$2" >/dev/null || break
      sleep 0.1
    done
    if pid=$(pid_of "$1" "$2"); then kill -KILL "$pid" 2>/dev/null; fi
  fi
  rm -f "$2"
}

if pid_of slurmctld "$base/run/slurmctld.pid" >/dev/null; then
  scancel --partition=main 2>/dev/null
  scancel --partition=urgent 2>/dev/null
  for ((look = 0; look < 40; look++)); do
    [ -z "$(squeue -h -o %A 2>/dev/null)" ] && break
    sleep 0.5
  done
fi
for file in "$base"/run/slurmd.*.pid; do
  if [ -e "$file" ]; then stop slurmd "$file"; fi
done
stop slurmctld "$base/run/slurmctld.pid"
stop munged "$base/run/munged.pid"
if [ "${1:-}" = --purge ]; then rm -rf -- "$base"; fi
printf 'slurm/dev: down\n' >&2
