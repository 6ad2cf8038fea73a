# ---------------------------------------------------------------------------------------------
# From here on the script is the same for every task. Bash 3.2 suffices; no flock, no timeout.
# The order of things: adopt what is finished, take the lease, run the harness, check, publish.

set -uo pipefail
[ -z "$umask" ] || umask "$umask" # execution.file_mode, or a config that holds secrets
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P) || exit 1
run_dir=$(dirname "$here")
lib=$run_dir/lib
work=$here/work/$digest
record=$here/record/$digest
lease=$here/lease
run=$(basename "$run_dir")
# Two copies of a run folder on one machine must not end each other's containers.
folder=$(printf %s "$here" | cksum | cut -d ' ' -f 1)
container="snakeval-$run-$task-$folder"

# Seconds: without a heartbeat for so long an owner is dead; between two of them; TERM to KILL.
readonly SILENCE=${SNAKEVAL_SILENCE:-30} # the variable is for tests
readonly BEAT=$(((SILENCE + 9) / 10)) GRACE=10
# Kilobytes. A harness that can no longer store answers goes on asking for them: it is ended before.
readonly RESERVE=4096
readonly disk_full="the disk is full (less than $((RESERVE / 1024)) MB left)"

python=${SNAKEVAL_PYTHON:-$environment_python}
if [ ! -x "$python" ]; then
    if [ -n "${SNAKEVAL_LEAD:-}" ]; then # a batch job of ours
        echo "the Python environment $python is not on this node ($(uname -n)):" \
            "it must be on a file system that all nodes see" >&2
        exit 1
    fi
    python=python3
fi

# Nobody may be reading any more (`snakemake | tee`, a closed terminal): that ends nothing here.
trap : PIPE
say() { printf '%s %s: %s\n' "$(date +%H:%M:%S)" "$task" "$*" 2>/dev/null; }
# Files of lib/ find each other whatever the caller has set, and leave no byte code behind.
tool() { PYTHONSAFEPATH='' "$python" -B "$lib/$1.py" "${@:2}" 9>&-; }
attempt() { tool attempt "$@"; }

# --- 1. What is finished is linked again, at once -------------------------------------------

# Nothing in the work folder says so: it is the harness's.
is_complete() { [ -e "$record/complete" ] && [ -d "$work" ]; }

adopt() {
    trap '' TERM INT HUP
    rm -rf "$scratch"
    attempt publish "$here" "$digest" || exit 1
    say "finished before; nothing is asked again ($here/artifacts)"
    exit 0
}

# --- 2. The lease: one owner at a time, also between nodes ----------------------------------

host_id() { printf '%s %s' "$(uname -n)" "$(readlink /proc/self/ns/pid 2>/dev/null)"; }
alive() { kill -0 "$1" 2>/dev/null || [ -d "/proc/$1" ] || ps -p "$1" >/dev/null 2>&1; }
mtime() { stat -c %Y "$1" 2>/dev/null || stat -f %m "$1" 2>/dev/null; }
# When a process began: tells it from a later one with the same number.
born() {
    if [ -d /proc/self ]; then
        sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
    else
        LC_ALL=C ps -o lstart= -p "$1" 2>/dev/null | sed 's/^ *//; s/ *$//'
    fi
}
boot_id() { cat /proc/sys/kernel/random/boot_id 2>/dev/null; }
held() { sed -n "s/^$1=//p" "$lease/owner" 2>/dev/null; }
is_mine() { [ "$(cat "$lease/owner" 2>/dev/null)" = "$mine" ]; }

take_lease() {
    local owner='' seen='' beat='' since=$SECONDS waiting='' failures=0
    until mkdir "$lease" 2>"$scratch/mkdir"; do
        is_complete && adopt
        if [ ! -d "$lease" ]; then
            failures=$((failures + 1))
            [ "$failures" -lt 5 ] || fail "the lease cannot be made: $(cat "$scratch/mkdir")"
            continue
        fi
        owner=$(cat "$lease/owner" 2>/dev/null)
        beat="$owner $(mtime "$lease/beat")"
        [ "$beat" = "$seen" ] || { seen=$beat since=$SECONDS; }
        if owner_has_ended ||
            [ $((SECONDS - since)) -ge "$SILENCE" ]; then
            take_over "$owner"
            since=$SECONDS
            continue
        fi
        if [ "$waiting" != "$owner" ]; then
            waiting=$owner
            say "pid $(held pid) on $(held host | cut -d ' ' -f 1) is running this task; waiting"
        fi
        sleep 1
    done
    mine="host=$(host_id)
pid=$$
born=$(born $$)
boot=$(boot_id)
job=${SLURM_JOB_ID:-${LEPTON_JOB_NAME:-}}
container=$container
digest=$digest"
    if ! printf '%s\n' "$mine" >"$lease/owner" 2>"$scratch/mkdir"; then
        rm -rf "$lease"
        fail "the lease cannot be written: $(cat "$scratch/mkdir")"
    fi
    keep_beating </dev/null >/dev/null 2>&1 &
    beating=$!
    is_complete && { release; adopt; }
    return 0
}

# Whether the owner was a process of this machine that no longer runs. `job/lease.py` has the rule.
owner_has_ended() {
    local boot pid began
    [ "$(held host)" = "$(host_id)" ] || return 1
    boot=$(held boot) pid=$(held pid) began=$(held born)
    [ -z "$boot" ] || [ "$boot" = "$(boot_id)" ] || return 1
    case $pid in '' | *[!0-9]*) return 1 ;; esac
    alive "$pid" || return 0
    [ -n "$began" ] && [ -n "$(born "$pid")" ] && [ "$(born "$pid")" != "$began" ]
}

# Only one may clear a dead owner's lease, and only the one that was seen dead.
take_over() {
    local stamp
    if ! mkdir "$lease.taking" 2>/dev/null; then
        # Another one is at it; if it dies there, its mark is removed after a while.
        stamp=$(mtime "$lease.taking")
        [ "$stamp" = "$taking" ] || { taking=$stamp taking_since=$SECONDS; }
        [ $((SECONDS - taking_since)) -lt $((2 * SILENCE)) ] || rmdir "$lease.taking" 2>/dev/null
        sleep 1
        return
    fi
    if [ "$(cat "$lease/owner" 2>/dev/null)" = "$1" ]; then
        say "the former owner ($(held pid) on $(held host | cut -d ' ' -f 1)) is gone; taking over"
        sweep
        [ "$(cat "$lease/owner" 2>/dev/null)" != "$1" ] || rm -rf "$lease"
    fi
    rmdir "$lease.taking"
}

has_room() {
    local free
    free=$(df -Pk "$here" 2>/dev/null | sed -n 's/.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*/\1/p' | tail -n 1)
    [ "${free:-$RESERVE}" -ge "$RESERVE" ]
}

keep_beating() {
    local missed=0 moved=0 second=0 budget=''
    trap '' TERM INT HUP
    while kill -0 $$ 2>/dev/null; do
        if [ $((second % BEAT)) -ne 0 ]; then
            :
        elif is_mine; then
            missed=0
            touch "$lease/beat"
            use_servers
            if servers_have_moved; then
                moved=$((moved + 1)) # once may be a hiccup, too
                [ "$moved" != 2 ] || { : >"$scratch/moved"; kill -TERM $$; }
            fi
        else
            missed=$((missed + 1)) # once may be a hiccup of a network file system
        fi
        # Suspended for so long that another one took over: two must not write into one folder.
        [ "$missed" -lt 2 ] || { kill -TERM $$; return; }
        if [ ! -e "$scratch/full" ] && ! has_room; then
            : >"$scratch/full"
            kill -TERM $$
        fi
        if [ -s "$scratch/budget" ] && read -r budget <"$scratch/budget" &&
            [ "$SECONDS" -ge "$budget" ]; then
            mv "$scratch/budget" "$scratch/spent"
            kill -TERM $$
        fi
        sleep 1
        second=$((second + 1))
    done
    leave_servers
    rm -rf "$scratch" # the script was killed
}

# Servers that the pipeline has brought up stay as long as somebody uses them.
use_servers() {
    local name
    for name in "${servers[@]+"${servers[@]}"}"; do
        touch "$run_dir/deployments/$name/users/$task" 2>/dev/null
    done
}

leave_servers() {
    local name
    for name in "${servers[@]+"${servers[@]}"}"; do
        rm -f "$run_dir/deployments/$name/users/$task"
    done
}

# Waits for a server's health; its address is read anew in each attempt. In the background, so that
# a signal is heard at once.
address_of() {
    tool server wait "$run_dir/deployments/$1" --timeout "$server_timeout" \
        >"$scratch/server" 2>&1 </dev/null &
    waiting_pid=$!
    wait "$waiting_pid" || fail "$(cat "$scratch/server")"
    waiting_pid=''
    cat "$run_dir/deployments/$1/endpoint.json" >"$scratch/server.$1" 2>/dev/null
    address=$(cat "$scratch/server")
}

given=0
# The endpoints of a server beside the model's (a judge): as variables of the harness, and in place
# of the references to them in its command and its config.
use_auxiliary() {
    local entry server variable reference path url
    for entry in "${auxiliary[@]+"${auxiliary[@]}"}"; do
        read -r server variable reference path <<<"$entry"
        [ "$server" = "$1" ] || continue
        url=$(seen_by_harness "$2/${path#/}")
        given=$((given + 1))
        export "SNAKEVAL_GIVEN_$given=$url"
        is_passed "$variable" || pass "$variable" "SNAKEVAL_GIVEN_$given"
        url_names+=("SNAKEVAL_GIVEN_$given")
        printf %s "$url" | attempt fill "$record" "$reference" >"$scratch/filled" ||
            fail "$(cat "$scratch/filled")"
    done
}

is_a_job() { grep -q '"job": "' "$scratch/server.$1" 2>/dev/null; }

# Whether a server that is a job of a cluster has gone, or has another address now: it is not the
# benchmark that has failed. Only an attempt that has begun has noted an address.
servers_have_moved() {
    local name
    for name in "${servers[@]+"${servers[@]}"}"; do
        is_a_job "$name" || continue
        cmp -s "$scratch/server.$name" "$run_dir/deployments/$name/endpoint.json" || return 0
    done
    return 1
}

# The same, after a failure: a cluster ends a server and its supervisor together, and the harness may
# have ended before the supervisor has said so.
servers_are_gone() {
    local name
    for name in "${servers[@]+"${servers[@]}"}"; do
        is_a_job "$name" || continue
        tool server gone "$run_dir/deployments/$name" --seen "$scratch/server.$name" </dev/null &&
            return 0
    done
    return 1
}

# What a failed attempt has to say about its servers.
server_trouble() {
    local name
    for name in "${servers[@]+"${servers[@]}"}"; do
        tool server trouble "$run_dir/deployments/$name" --seen "$scratch/server.$name" </dev/null
    done
}

release() {
    [ -n "$beating" ] && kill -KILL "$beating" 2>/dev/null && wait "$beating" 2>/dev/null
    beating=''
    [ -z "$waiting_pid" ] || kill "$waiting_pid" 2>/dev/null
    if is_mine; then
        leave_servers
        rm -rf "$lease"
    fi
    rm -rf "$scratch"
}

# --- How an attempt ends badly: with a state, a cause in one sentence, and nothing running ---

arguments=("$@")
number=0
code=0
stopped_by=''
harness_pid=''
url_names=(endpoint_url) # variables with addresses that the harness asks
beating=''
waiting_pid=''
mine=none
deadline=''
slurm_says=''
taking=none
taking_since=0

fail() {
    trap '' TERM INT HUP
    [ "$number" = 0 ] || leave_if_lost
    case $stopped_by in
        '' | full | spent) state=failed ;;
        slurm | moved | cloud) state=interrupted ;;
        *) state=cancelled ;;
    esac
    # Nothing to record before the attempt has begun: the task may be in another one's hands.
    [ "$number" = 0 ] || attempt end "$here" --number "$number" --state "$state" \
        --exit-code "$code" --cause "$*" ||
        say "the attempt could not be recorded (is the disk full?)"
    say "$state: $*"
    [ "$number" = 0 ] ||
        say "log: $log; start again to continue, finished samples are kept"
    release
    case $stopped_by in
        '' | full | spent) exit 1 ;;
        slurm) come_back; exit 75 ;;
        moved) again ;;
        INT) exit 130 ;;
        HUP) exit 129 ;;
        *) exit 143 ;;
    esac
}

# The next attempt, in this very process: it waits for the server, and reads its address anew.
again() {
    exec 9>&-
    trap - TERM INT HUP
    exec bash "$here/run.sh" "${arguments[@]+"${arguments[@]}"}"
}

# What the harness may have left behind must not hold the log open for ever.
end_filter() {
    local since=$SECONDS
    while alive "$filter_pid" && [ $((SECONDS - since)) -lt "$GRACE" ]; do
        sleep 0.1
    done
    kill -KILL "$filter_pid" 2>/dev/null
}

# Another one has taken the task over, and with it the record: not a word into it.
leave_if_lost() {
    is_mine && return
    trap '' TERM INT HUP
    say "was suspended for so long that another start has taken over; leaving it to that one"
    release
    exit 1
}

on_signal() {
    trap '' TERM INT HUP
    stopped_by=$1
    [ ! -e "$scratch/full" ] || stopped_by=full
    [ ! -e "$scratch/spent" ] || stopped_by=spent
    [ ! -e "$scratch/moved" ] || stopped_by=moved
    [ ! -e "$scratch/unpaid" ] || stopped_by=unpaid # the gateway's word: no try to be repeated
    [ "$stopped_by" != TERM ] || [ -z "${SLURM_JOB_ID:-}" ] || ask_slurm
    # A cloud job is not cancelled by a signal: it may be started again, here or by the controller.
    [ "$stopped_by" != TERM ] || [ "$runtime" != image ] || stopped_by=cloud
    [ -n "$harness_pid" ] || fail "$(why_stopped) before the harness ran"
    say "$(why_stopped): ending the harness (its samples are kept)"
    stop_harness
}

why_stopped() {
    case $stopped_by in
        full) printf %s "$disk_full" ;;
        moved) printf %s 'the server has gone, or has another address now; continuing with it' ;;
        spent) printf 'max_walltime (%s s) is used up; %s' "$SNAKEVAL_MAX_WALLTIME" \
            'raise execution.max_walltime and start again to continue' ;;
        unpaid) cat "$scratch/unpaid" ;;
        cloud) printf %s 'the job was ended (its time limit, a preemption, or a stop)' ;;
        *) printf %s "${slurm_says:-stopped by SIG$stopped_by}" ;;
    esac
}

# A TERM may be a person's cancel, or Slurm's: the time limit, a preemption, a requeue.
ask_slurm() {
    local state=''
    read -r state slurm_says < <(tool slurm_job ending --deadline "$deadline" \
        --lead "${SNAKEVAL_LEAD:-120}" </dev/null)
    [ "$state" != interrupted ] || stopped_by=slurm
}

# A batch job of ours that is stopped before its time limit starts again under the same number.
# Where Slurm does not let it, the controller submits another one.
come_back() {
    [ -n "${SNAKEVAL_LEAD:-}" ] || return 0
    if tool slurm_job requeue >/dev/null 2>&1; then
        say "Slurm starts this job again, and it continues"
    fi
}

scratch=$(mktemp -d "${TMPDIR:-/tmp}/snakeval.XXXXXX") || exit 1
if [ -n "${1:-}" ] && [ "$1" != "$digest" ]; then
    say "this script is for spec $digest, not $1: run snakemake again: it renews the script"
    rm -rf "$scratch"
    exit 1
fi
# Snakemake says which try this is; nobody tries again after the last one, or by hand.
is_last=''
[ "${2:-1}" -le "${SNAKEVAL_RETRIES:-0}" ] || is_last=yes
is_complete && adopt
for signal in TERM INT HUP; do
    # shellcheck disable=SC2064 # the name of the signal is meant to be fixed here
    trap "on_signal $signal" "$signal"
done
take_lease

# --- 3. A folder in which this attempt's results are the only ones ---------------------------

has_room || fail "$disk_full"
mkdir -p "$work" "$record" "$here/logs" || fail "the work folder cannot be made"
[ -z "${SLURM_JOB_ID:-}" ] || deadline=$(tool slurm_job deadline </dev/null)
if ! began=$(attempt begin "$here" --digest "$digest" --runtime "$runtime" --image "$image" \
    --container "$container" --pid $$ --deadline "$deadline" \
    ${is_last:+--last} "${stale[@]+"${stale[@]/#/--stale=}"}"); then
    fail "${began:-the attempt could not be recorded}"
fi
number=$began
log=$here/logs/evaluate.$number.log
: >"$log" || fail "the log cannot be written"
ln -sfn "evaluate.$number.log" "$here/logs/evaluate.log"
ln -sfn "evaluate.$number.log" "$here/logs/$digest.log"
write_files || fail "the run config cannot be written into $record"
if [ -n "${SLURM_JOB_ID:-}" ] && [ -n "${SNAKEVAL_MAX_WALLTIME:-}" ]; then
    budget=$(tool slurm_job budget "$here" "$digest" --limit "$SNAKEVAL_MAX_WALLTIME") ||
        fail "$budget"
    echo $((SECONDS + budget)) >"$scratch/budget"
fi

# --- 4. Variables and endpoint ---------------------------------------------------------------

lacking=$(check_runtime) || fail "${lacking:-$runtime is not on this machine ($(uname -n))}"
# What `snakemake prefetch` has put beside the runs; without it the image is asked for by its name.
archive_file=$(dirname "$run_dir")/$archive
[ -z "$archive" ] || [ ! -e "$archive_file" ] || take_archive
set_variables || fail "$unset_variables"
beside=() # servers beside the model's, each with its address
for name in "${servers[@]+"${servers[@]}"}"; do
    address_of "$name"
    if [ "$name" = model ]; then
        endpoint_url="$address/${endpoint_path#/}"
    else
        beside+=("$name $address")
    fi
done
take_surroundings
# The lifeline: only this script holds the writing end. However it dies, readers see the end.
mkfifo "$scratch/lifeline" || fail "no pipe can be made in $scratch"
exec 9<>"$scratch/lifeline"

if [ "$demo_endpoint" = yes ]; then
    "$python" -m snakeval.demo_endpoint --port 0 --port-file "$scratch/port" \
        <"$scratch/lifeline" >"$scratch/demo.log" 2>&1 9>&- &
    demo_pid=$!
    until [ -s "$scratch/port" ]; do
        alive "$demo_pid" || fail "the demo endpoint did not start: $(tail -n 1 "$scratch/demo.log")"
        sleep 0.1
    done
    endpoint_url="http://127.0.0.1:$(cat "$scratch/port")/v1/$endpoint_path"
fi
[ "$check_model" = no ] ||
    SNAKEVAL_ASKED="$endpoint_url" attempt model - "$endpoint_model" --key "$key_name" \
        >"$scratch/model" ||
    fail "$(cat "$scratch/model")"
[ "$gateway" != yes ] || begin_gateway "${beside[@]+"${beside[@]}"}"
endpoint_url=$(through_gateway model "$endpoint_url")
for entry in "${beside[@]+"${beside[@]}"}"; do
    use_auxiliary "${entry%% *}" "$(through_gateway "${entry%% *}" "${entry#* }")"
done

# --- 5. The harness, in the runtime of this executor -----------------------------------------

# Some harnesses write keys into their output; it passes a filter that knows the values. The
# filter ends with the last writer, so no signal may end it before.
mkfifo "$scratch/output" || fail "no pipe can be made in $scratch"
(
    trap '' TERM INT HUP
    attempt redact "${secret_names[@]+"${secret_names[@]}"}"
) <"$scratch/output" >>"$log" 9>&- &
filter_pid=$!

sweep
say "attempt $number started ($runtime); follow it with: tail -f $log"
[ -z "$stopped_by" ] || fail "$(why_stopped)"
start_harness
wait "$harness_pid" 2>/dev/null
code=$?
if [ -n "$stopped_by" ]; then
    # The handler has ended it. No second `wait`: of a child that dies at the very moment of the
    # signal (Slurm sends it to both) bash may lose the end, and would wait for ever.
    since=$SECONDS
    while alive "$harness_pid" && [ $((SECONDS - since)) -lt "$GRACE" ]; do sleep 0.1; done
fi
after_harness
end_filter
leave_if_lost
[ -n "$stopped_by" ] && fail "$(why_stopped)"

# --- 6. No false score -----------------------------------------------------------------------

logs=()
while IFS= read -r name; do logs+=(--log "$name"); done < <(attempt logs "$here" "$digest")
tool verify "$work" --record "$record" --exit-code "$code" ${gateway_pid:+--gateway} \
    "${logs[@]+"${logs[@]}"}" >"$scratch/cause" || {
    [ -z "$stopped_by" ] || fail "$(why_stopped) while the result was checked"
    if servers_are_gone; then
        stopped_by=moved
        fail "$(why_stopped)"
    fi
    fail "$(cat "$scratch/cause")$(server_trouble)$(gateway_trouble)"
}

# --- 7. From the mark on nothing may fail, and no signal may come between --------------------

trap '' TERM INT HUP
leave_if_lost
attempt publish "$here" "$digest" --number "$number" || fail "the result could not be published"
release
say "published: $here/artifacts"
exit 0
