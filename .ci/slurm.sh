#!/usr/bin/env bash
# A real Slurm cluster of one node on this machine, for tests of profiles/slurm. Run it as root, as often as you like:
#
#     .ci/slurm.sh
#
# It installs Debian's (or Ubuntu's) slurm-wlm and munge, configures them, starts munged, slurmctld and slurmd without
# systemd, and returns 0 when a job can start. When all is up it changes nothing; a dead daemon is started again, a
# drained or down node is resumed. It needs no cgroup write access, so an ordinary container will do.
#
#     SLURM_TEST_GPUS   GPUs the node offers (default: the machine's NVIDIA devices, else 1 backed by /dev/null)
#     SLURM_TEST_CPUS   CPUs the node offers (default: nproc, but at least 4)
set -euo pipefail

marker="# written by malgeul's .ci/slurm.sh"
logs=/var/log/slurm
state=/var/lib/malgeul-slurm

say() { echo "slurm.sh: $*"; }
die() {
    echo "slurm.sh: $*" >&2
    tail -n 5 "$logs"/slurmctld.log "$logs"/slurmd.log >&2 2>/dev/null || true
    exit 1
}

[ "$(id -u)" = 0 ] || die "run me as root"

# A variable of an enclosing job, or another configuration, would turn the commands below to another cluster.
for name in $(compgen -e); do
    case $name in SLURM_TEST_*) ;; SLURM_* | SBATCH_* | SRUN_*) unset "$name" ;; esac
done

node=$(hostname -s)

# Writes stdin to a file; returns 1 when the file said so already.
put() {
    local path=$1 text
    text=$(cat)
    [ -f "$path" ] && [ "$(cat "$path")" = "$text" ] && return 1
    printf '%s\n' "$text" >"$path"
}

install_packages() {
    local program
    for program in slurmctld slurmd sbatch munged; do
        type -P "$program" >/dev/null && continue
        say "installing slurm-wlm and munge"
        export DEBIAN_FRONTEND=noninteractive
        apt-get install -y -q --no-install-recommends slurm-wlm munge >/tmp/slurm-apt.log 2>&1 ||
            { apt-get update -q && apt-get install -y -q --no-install-recommends slurm-wlm munge; } \
                >/tmp/slurm-apt.log 2>&1 || { tail -n 20 /tmp/slurm-apt.log >&2; die "apt-get failed"; }
        return
    done
}

# In MB: the machine's memory, or the container's limit where that is smaller.
memory_mb() {
    local total limit file
    total=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
    for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
        limit=$(cat "$file" 2>/dev/null || true)
        case $limit in "" | *[!0-9]*) continue ;; esac
        limit=$(awk -v bytes="$limit" 'BEGIN { printf "%d", bytes / 1048576 }')
        [ "$limit" -lt "$total" ] && total=$limit
    done
    echo "$total"
}

# Device files of the node's GPUs. Slurm wants one existing file per GPU; where there is none, any character device does,
# because without cgroups nothing opens it: the scheduler counts it and sets CUDA_VISIBLE_DEVICES.
gpu_files() {
    local devices=(/dev/nvidia[0-9]*) stand_ins=(/dev/null /dev/zero /dev/full /dev/random)
    [ -e "${devices[0]}" ] || devices=("${stand_ins[@]:0:${SLURM_TEST_GPUS:-1}}")
    printf '%s\n' "${devices[@]}" | head -n "${SLURM_TEST_GPUS:-999}"
}

configure() {
    local changed=1 files gpus cpus version
    if [ -s /etc/slurm/slurm.conf ] && ! grep -qF "$marker" /etc/slurm/slurm.conf; then
        die "/etc/slurm/slurm.conf is not mine: this machine belongs to a cluster already, and I leave it alone"
    fi
    mkdir -p /etc/slurm "$logs" "$state"/ctld "$state"/d
    mapfile -t files < <(gpu_files)
    gpus=${#files[@]}
    # A two-core runner could not show that CPU jobs run beside a GPU job, so the node offers at least four; a test's jobs
    # mostly wait. config_overrides lets slurmd register with more CPUs than it finds. Memory is not inflated: there
    # is no task or cgroup plugin to stop jobs that together take more than the machine has.
    cpus=${SLURM_TEST_CPUS:-$(nproc)}
    [ -n "${SLURM_TEST_CPUS:-}" ] || [ "$cpus" -ge 4 ] || cpus=4
    # MinJobAge: with no accounting, a finished job is known only as long as slurmctld keeps it. JobRequeue=0: a lost
    # node's job fails, and Snakemake's retries decide.
    put /etc/slurm/slurm.conf <<CONF && changed=0
$marker
ClusterName=malgeul
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
MpiDefault=none
MailProg=/bin/true
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$logs/slurmctld.log
SlurmdLogFile=$logs/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
ReturnToService=2
JobRequeue=0
InactiveLimit=0
KillWait=2
MinJobAge=3600
SlurmctldTimeout=60
SlurmdTimeout=60
GresTypes=gpu
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$(memory_mb) Gres=gpu:$gpus State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE DefMemPerCPU=256 State=UP
CONF
    put /etc/slurm/gres.conf <<CONF && changed=0
$marker
$(printf "NodeName=$node Name=gpu File=%s\n" "${files[@]}")
CONF
    # No plugin of ours uses cgroups, but from 23.11 on slurmd sets up a scope of its own unless told not to; 24.05 knows
    # "disabled", 23.11 wants IgnoreSystemd instead.
    version=$(slurmd -V | grep -oE '[0-9]+\.[0-9]+' | head -n 1)
    put /etc/slurm/cgroup.conf <<CONF && changed=0
$marker
$(case $version in
        2[4-9].* | [3-9]?.*) echo CgroupPlugin=disabled ;;
        23.11) echo IgnoreSystemd=yes ;;
        *) echo "# $version: nothing to say" ;;
    esac)
CONF
    return "$changed"
}

# The pid of a daemon of ours, when it lives. A container's PID 1 may never reap: a zombie keeps its pid and its name.
pid_of() {
    local pid
    pid=$(cat "$state/$1.pid" 2>/dev/null) || return 1
    grep -qsxE "Name:[[:space:]]$1" "/proc/$pid/status" || return 1
    grep -qsE '^State:[[:space:]][ZX]' "/proc/$pid/status" && return 1
    echo "$pid"
}

stop() {
    local pid
    pid=$(pid_of "$1") || return 0
    kill "$pid"
    for _ in $(seq 100); do
        pid_of "$1" >/dev/null || return 0
        sleep 0.1
    done
    die "$1 ($pid) does not stop"
}

# Starts a daemon that inherits no descriptor of ours: with the caller's pipe it would hang whoever reads our output to its
# end, with the lock the next run of this script.
detached() (
    for fd in /proc/"$BASHPID"/fd/*; do
        fd=${fd##*/}
        [ "$fd" -le 2 ] || eval "exec $fd>&-"
    done
    exec "$@" >/dev/null 2>&1 </dev/null
)

start_munge() {
    munge -n 2>/dev/null | unmunge >/dev/null 2>&1 && return
    if [ ! -s /etc/munge/munge.key ]; then
        (umask 077 && head -c 128 /dev/urandom >/etc/munge/munge.key)
        chown munge: /etc/munge/munge.key
    fi
    mkdir -p /run/munge && chown munge: /run/munge && chmod 755 /run/munge
    say "starting munged"
    # --force: the checks of the folders above its files fail in some containers and on Ubuntu (/var/log is group-writable).
    detached runuser -u munge -- "$(type -P munged)" --force || die "munged does not start"
    for _ in $(seq 50); do
        munge -n 2>/dev/null | unmunge >/dev/null 2>&1 && return
        sleep 0.1
    done
    die "munged does not answer"
}

start() {
    pid_of "$1" >/dev/null && return
    say "starting $1"
    detached "$(type -P "$1")" || die "$1 does not start"
}

node_state() { timeout 10 sinfo -h -N -n "$node" -o %T 2>/dev/null | head -n 1; }

# An unreachable controller makes each question take ten seconds, so the limit is in seconds, and a daemon that gave up
# (a configuration it refuses) is named at once.
wait_for_node() {
    local state_now="" name resumed=-9
    while [ "$SECONDS" -lt 90 ]; do
        for name in slurmctld slurmd; do
            pid_of "$name" >/dev/null || { sleep 1 && pid_of "$name" >/dev/null; } || die "$name has died"
        done
        state_now=$(node_state) || true
        case $state_now in
            idle | mixed | allocated | completing) return ;;
            *drain* | down | fail*)
                # Right after a restart slurmd has not registered yet, and a resume would not last.
                if [ $((SECONDS - resumed)) -ge 2 ]; then
                    resumed=$SECONDS
                    scontrol update "NodeName=$node" State=RESUME 2>/dev/null || true
                fi
                ;;
        esac
        sleep 0.2
    done
    die "node $node stays '$state_now': $(timeout 10 scontrol show node "$node" 2>&1 | grep -i reason || true)"
}

exec 9>/run/malgeul-slurm.lock
flock 9 # two test sessions may start at once
install_packages
start_munge
if configure; then
    stop slurmd
    stop slurmctld
fi
start slurmctld
start slurmd
wait_for_node
say "$(sinfo -h -N -n "$node" -o "node %N is %T: %c CPUs, %m MB, %G" | head -n 1) (slurm $(slurmd -V | grep -oE '[0-9.]+$'))"
