# How the harness runs without a container: from the environment, or inside its own image.

check_runtime() { :; } # a missing program is told by the shell that looks for it
seen_by_harness() { printf %s "$1"; }

start_harness() {
    local cache
    cache=$(hf_cache)
    # A home that cannot be written has no cache; without one, no dataset can be loaded.
    if [ -z "$cache" ] && [ -z "${HF_HOME:-}" ] && [ ! -w "${HOME:-/nonexistent}" ]; then
        cache=$run_dir/.cache/huggingface
        say "no home folder to write to: datasets are kept in $cache"
    fi
    [ -z "$cache" ] || export HF_HOME="$cache"
    PATH="$(dirname "$python"):$PATH"
    export PATH SNAKEVAL_RESULTS="$work" SNAKEVAL_FILES="$files"
    export SNAKEVAL_ENDPOINT_URL="$endpoint_url" SNAKEVAL_MODEL_ID="$endpoint_model"
    ADAPTER_PORT=$(attempt port) # adapters on one host would answer each other's requests
    export ADAPTER_PORT
    set -m # a process group of its own, which can be ended as a whole
    (cd "$work" && exec sh "$own/command.sh") </dev/null >"$scratch/output" 2>&1 9>&- &
    harness_pid=$!
    # The watchdog: ends the group when the lifeline's writing end is gone.
    (
        trap '' TERM INT HUP
        read -r _
        kill -TERM -- "-$harness_pid"
        sleep 5
        kill -KILL -- "-$harness_pid"
    ) <"$scratch/lifeline" >/dev/null 2>&1 9>&- &
    watchdog=$!
    set +m
    printf '%s %s\n' "$harness_pid" "$(born "$harness_pid")" >"$lease/group"
}

stop_harness() {
    local since=$SECONDS
    kill -TERM -- "-$harness_pid" 2>/dev/null
    while kill -0 -- "-$harness_pid" 2>/dev/null && [ $((SECONDS - since)) -lt "$GRACE" ]; do
        sleep 0.2
    done
    kill -KILL -- "-$harness_pid" 2>/dev/null
}

after_harness() {
    kill -KILL "$watchdog" 2>/dev/null && wait "$watchdog" 2>/dev/null
    kill -KILL -- "-$harness_pid" 2>/dev/null # what the harness may have left in its group
    return 0
}

# When a process began: tells it from a later one with the same number.
born() {
    if [ -d /proc/self ]; then
        sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
    else
        ps -o lstart= -p "$1" 2>/dev/null
    fi
}

# Ends the former owner's harness. Its watchdog does so too, but not where the owner is only
# suspended.
sweep() {
    local group='' began='' now since=$SECONDS number=TERM
    read -r group began 2>/dev/null <"$lease/group"
    [ -n "$group" ] && [ "$(held host)" = "$(host_id)" ] || return 0
    now=$(born "$group")
    [ -z "$now" ] || [ "$now" = "$began" ] || return 0 # the number is somebody else's now
    while kill "-$number" -- "-$group" 2>/dev/null && [ $((SECONDS - since)) -lt 10 ]; do
        sleep 0.2
        [ $((SECONDS - since)) -lt 5 ] || number=KILL
    done
}
