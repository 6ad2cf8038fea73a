# A harness that is a process group of this machine: how it is watched, ended and swept.

# Such a harness is on this machine's network, in a container or not.
seen_by_harness() { printf %s "$1"; }

# Called right after `harness_pid` was started as the leader of a group of its own.
watch_group() {
    # The watchdog: ends the group when the lifeline's writing end is gone.
    (
        trap '' TERM INT HUP
        read -r _
        kill -TERM -- "-$harness_pid"
        sleep 5
        kill -KILL -- "-$harness_pid"
    ) <"$scratch/lifeline" >/dev/null 2>&1 9>&- &
    watchdog=$!
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
