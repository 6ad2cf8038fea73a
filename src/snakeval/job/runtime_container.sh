# How the harness runs in a container of `docker` or `podman` ($runtime).

# Inside the container: a watchdog ends everything when the lifeline's writing end is gone. What
# cannot be written (a network folder that root may not write, an image with a user of its own) is
# told in lines that `harness_log.py` knows.
# shellcheck disable=SC2016 # expanded in the container
in_container='exec 3<&0
(trap "" TERM INT HUP; read -r _ <&3; kill -TERM -1; sleep 5; kill -KILL -1) &
can_write() { (: >"$1/.snakeval-probe") 2>/dev/null && rm -f "$1/.snakeval-probe"; }
if ! can_write /results; then
    echo "snakeval: user $(id -u) of the container cannot write in /results"
    exit 73
fi
if [ "${HF_HOME:-}" = /snakeval/huggingface ] && ! can_write "$HF_HOME"; then
    echo "snakeval: user $(id -u) of the container cannot write in the Hugging Face cache; not used"
    unset HF_HOME
fi
set -- "$(command -v sh)" "$@"
'
# shellcheck disable=SC2016 # expanded in the container
in_container_at_last='exec "$@" </dev/null 3<&-'

check_runtime() { command -v "$runtime" >/dev/null; }

has_image() { "$runtime" image inspect "$1" >/dev/null 2>&1; }

# A loaded image has no digest of a registry: it is known by its own id.
take_archive() {
    local lock='' folder since=$SECONDS
    has_image "$image" && return
    folder=$(own_folder) && lock=$folder/load-${archive_id#sha256:}
    # One job of a node loads it; the others wait for that one, which a link names.
    while [ -n "$lock" ] && ! has_image "$archive_id" && ! ln -sn $$ "$lock" 2>/dev/null &&
        alive "$(readlink "$lock")" && [ $((SECONDS - since)) -lt 1800 ]; do
        sleep 1
    done
    if ! has_image "$archive_id"; then
        [ -z "$lock" ] || ln -sfn $$ "$lock"
        say "loading the image from $archive_file"
        "$runtime" load --input "$archive_file" >"$scratch/load" 2>&1 </dev/null &
        waiting_pid=$!
        wait "$waiting_pid" ||
            fail "the image cannot be loaded from $archive_file: $(tail -n 1 "$scratch/load")"
        waiting_pid=''
        has_image "$archive_id" ||
            fail "$archive_file has another image than $archive_id: start again, or prefetch again"
    fi
    # Also that of a job which was killed while it loaded.
    [ -z "$lock" ] || { alive "$(readlink "$lock")" && [ "$(readlink "$lock")" != $$ ]; } ||
        rm -f "$lock"
    image=$archive_id
}

# A folder of this user on this machine, where nobody else writes; none where somebody else made it.
own_folder() {
    local folder
    folder=/tmp/snakeval-$(id -u)
    mkdir -m 700 "$folder" 2>/dev/null
    if [ -L "$folder" ] || [ ! -d "$folder" ] || [ ! -O "$folder" ] ||
        [ -n "$(find "$folder" -prune "(" -perm -020 -o -perm -002 ")" 2>&1)" ]; then
        say "$folder is not this user's alone and is not used" >&2
        return 1
    fi
    printf %s "$folder"
}

# What the user has said in `extra_docker_args` is taken over, and nothing added to it: an engine
# refuses a second network. The working directory is the image's own.
start_harness() {
    local options shell=(--entrypoint sh "$image" -c)
    options=("${confined[@]}")
    endpoint_url=$(seen_by_harness "$endpoint_url")
    if asks_this_machine && ! says --network --net; then
        options+=(--network host)
    fi
    # Adapters on the host's network would answer each other's requests.
    case " ${options[*]} ${extra_args[*]-} " in
        *' --network host '* | *' --network=host '* | *' --net host '* | *' --net=host '*)
            options+=(-e "ADAPTER_PORT=$(attempt port)")
            ;;
    esac
    # As much as the launcher gives; what is not used is not taken.
    says --shm-size --ipc || options+=(--shm-size=100g)
    ! says --entrypoint || shell=("$image" sh -c)
    furnish
    # What root adds to the cache from now on is given to the caller, also after a crash.
    [ -z "$cache" ] || [ -e "$record/cache-since" ] || : >"$record/cache-since"
    set -m # a group of its own: a Ctrl-C reaches it through this script only
    "$runtime" run -i --init --rm --name "$container" \
        --label "snakeval.run=$run" --label "snakeval.task=$run/$task" \
        --label "snakeval.folder=$folder" \
        "${options[@]}" "${extra_args[@]+"${extra_args[@]}"}" \
        "${shell[@]}" "$in_container$(named)
$in_container_at_last" sh /snakeval/record/command.sh \
        <"$scratch/lifeline" >"$scratch/output" 2>&1 9>&- &
    harness_pid=$!
    set +m
}

# Whether the user's words for the engine have one of these options.
says() {
    local word option
    for word in "${extra_args[@]+"${extra_args[@]}"}"; do
        for option in "$@"; do
            case $word in "$option" | "$option"=*) return 0 ;; esac
        done
    done
    return 1
}

add_mount() { options+=(-v "$1:$2${3:+:$3}"); }
add_name() { options+=(-e "$1"); }
add_value() { options+=(-e "$1=$2"); }

# An address as the container knows it: Docker Desktop's engine runs in a virtual machine.
seen_by_harness() {
    if [ "$(uname -s)" = Darwin ]; then
        printf %s "$1" |
            sed -E 's#://(localhost|127\.0\.0\.1|\[::1\])([:/])#://host.docker.internal\2#'
    else
        printf %s "$1"
    fi
}

# Whether an endpoint, or a proxy on the way to it, is at this machine's loopback address.
asks_this_machine() {
    local name
    for name in "${url_names[@]+"${url_names[@]}"}"; do
        ! is_loopback "${!name:-}" || return 0
    done
    for name in $proxy_names; do
        ! is_loopback "$(value_of "$name")" || return 0
    done
    return 1
}

is_loopback() {
    case $1/ in
        localhost[:/]* | *[/@]localhost[:/]* | 127.0.0.1[:/]* | *[/@]127.0.0.1[:/]* | \
            *[/@]\[::1\][:/]*) return 0 ;;
    esac
    return 1
}

stop_harness() {
    local since=$SECONDS told=''
    while still_here && alive "$harness_pid" && [ $((SECONDS - since)) -lt "$GRACE" ]; do
        # Once is enough, but the engine may still be making the container.
        [ -n "$told" ] ||
            ! "$runtime" kill --signal TERM "$container" >/dev/null 2>&1 || told=yes
        sleep 0.2
    done
    still_here && "$runtime" rm -f "$container" >/dev/null 2>&1
    since=$SECONDS
    while alive "$harness_pid" && [ $((SECONDS - since)) -lt 3 ]; do
        sleep 0.2
    done
    kill -KILL "$harness_pid" 2>/dev/null
}

# Whether the containers of this task on this machine are ours to end. Where another start on
# this machine has taken over, it has removed ours, and what runs now is its own.
still_here() { is_mine || [ "$(held host)" != "$(host_id)" ]; }

# Also when the client was killed and the container is still there; and its files become ours.
after_harness() {
    local told
    still_here || return 0
    sweep
    head -n 20 "$log" | sed -n 's/^snakeval: \(.*Hugging Face cache.*\)/\1/p' |
        while IFS= read -r told; do say "$told"; done
    attempt disarm "$work" </dev/null | while IFS= read -r told; do say "in $work $told"; done
    [ "$(id -u)" = 0 ] || give_back
}

# As root of a container, which is the caller in a rootless engine: so the owner of a folder that
# the caller has made is asked for inside. Of a shared cache only what root has added is touched.
# shellcheck disable=SC2016 # expanded in the container
in_giving_back='owner=$(stat -c %u:%g /snakeval/record) || exit
find /results -xdev "(" -type b -o -type c ")" -exec rm -f {} +
find /results -xdev -type f "(" -perm -4000 -o -perm -2000 ")" -exec chmod ug-s {} +
find /results -xdev -exec chown -h "$owner" {} + || exit
[ -d /snakeval/huggingface ] || exit 0
set -- -user 0 -cnewer
find /snakeval/huggingface -prune "$@" /snakeval/record/cache-since >/dev/null 2>&1 ||
    set -- -user 0 -newer
find /snakeval/huggingface "$@" /snakeval/record/cache-since -exec chown -h "$owner" {} +'

give_back() {
    local options
    options=(-v "$work:/results" -v "$record:/snakeval/record:ro")
    if [ -n "$cache" ] && is_foreign "$cache" -cnewer "$record/cache-since"; then
        options+=(-v "$cache:/snakeval/huggingface")
    elif ! is_foreign "$work"; then
        rm -f "$record/cache-since"
        return
    fi
    if "$runtime" run --rm --network none --user 0:0 "${options[@]}" --entrypoint sh "$image" \
        -c "$in_giving_back" >>"$log" 2>&1; then
        rm -f "$record/cache-since"
    else
        say "some files in $work${cache:+ or $cache} belong to another user"
    fi
}

# Whether a folder has files of somebody else; a condition of `find` narrows it.
is_foreign() {
    [ -n "$(find "$@" ! -user "$(id -u)" 2>/dev/null | head -n 1)" ]
}

# Only called by the holder of the lease: whatever of this task still runs here is left over.
# It waits until the engine has let go of the name, which the next container needs.
sweep() {
    local left since=$SECONDS
    while left=$("$runtime" ps -aq --filter "label=snakeval.task=$run/$task" \
        --filter "label=snakeval.folder=$folder" 2>/dev/null) &&
        [ -n "$left" ] && [ $((SECONDS - since)) -lt 20 ]; do
        # shellcheck disable=SC2086 # a list of ids
        "$runtime" rm -f $left >/dev/null 2>&1 || sleep 0.2
    done
}
