# How the server runs in a container of `docker` or `podman` ($runtime).

supervision=(--port "$port")

# Where the user's own words put it on the host's network, its port is the host's, and none is to be
# published.
on_hosts_network() {
    case " ${extra_args[*]-} " in
        *' --network host '* | *' --network=host '* | *' --net host '* | *' --net=host '*) ;;
        *) return 1 ;;
    esac
}

# Inside the container: a watchdog ends everything when the lifeline's writing end is gone.
# shellcheck disable=SC2016 # expanded in the container
in_container='exec 3<&0
(trap "" TERM INT HUP; read -r _ <&3; kill -TERM -1; sleep 5; kill -KILL -1) &
set -- "$(command -v bash || command -v sh)" "$1"
'
# shellcheck disable=SC2016 # expanded in the container
in_container_at_last='exec "$1" -c "$2" </dev/null 3<&-'

serve() {
    local options name cache=''
    options=("${confined[@]}" -e "SNAKEVAL_PORT=$port" -e SNAKEVAL_HOST=0.0.0.0)
    for name in "${passed[@]+"${passed[@]}"}"; do
        options+=(-e "${name#* }")
    done
    add_gpus
    if [ "$hf_model" = yes ]; then # the weights come from the hub
        for name in $proxy_names NO_PROXY no_proxy HF_TOKEN; do
            [ -z "${!name:-}" ] || is_passed "$name" || options+=(-e "$name")
        done
        cache=$(hf_cache)
        [ -z "$cache" ] ||
            options+=(-v "$cache:/snakeval/huggingface$hf_mode" -e HF_HOME=/snakeval/huggingface)
    fi
    while read -r name; do
        options+=(-v "$name")
    done < <(hidden_tokens)
    # What root adds to a cache from now on is given to the caller, also after a crash.
    [ -e "$here/cache-since" ] || : >"$here/cache-since"
    # A free port of one address leads to the server: of loopback, where nobody else reaches it; on
    # a cluster, of the node's address in the cluster's network.
    on_hosts_network || options+=(-p "${SNAKEVAL_ADDRESS:-127.0.0.1}::$port")
    exec "$runtime" run -i --init --rm --name "$container" \
        --label "snakeval.run=$run" --label "snakeval.deployment=$run/$deployment" \
        --label "snakeval.folder=$folder" "${options[@]}" "${extra_args[@]+"${extra_args[@]}"}" \
        --entrypoint sh "$image" -c "$in_container$(named)
$in_container_at_last" sh "$(server_command)" \
        > >(tool attempt redact "${secret_names[@]+"${secret_names[@]}"}") 2>&1
}

add_gpus() {
    local wanted=$gpus device
    # A cluster gives a job some of the node's GPUs; the engine would take any.
    if [ -n "${SLURM_JOB_GPUS:-}" ] && [ "$wanted" != 0 ] && [ "$wanted" != none ]; then
        case $runtime in
            podman) wanted=$SLURM_JOB_GPUS, ;; # a list, of one too
            *) options+=(--gpus "\"device=$SLURM_JOB_GPUS\"") wanted=none ;;
        esac
    fi
    [ -n "$wanted" ] || [ ! -e /dev/nvidiactl ] || wanted=all
    # Which ones, where several servers share this machine's; one alone needs its comma.
    [ -z "$wanted" ] || [ -z "${SNAKEVAL_DEVICES:-}" ] || wanted=$SNAKEVAL_DEVICES,
    case $runtime:$wanted in
        *: | *:0 | *:none) ;;
        podman:*)
            for device in $(podman_devices "$wanted"); do
                options+=(--device "nvidia.com/gpu=$device")
            done
            ;;
        *:*,*) options+=(--gpus "\"device=${wanted%,}\"") ;; # Docker wants quotes around a list
        *) options+=(--gpus "$wanted") ;;
    esac
}

# A number of GPUs is the first of them.
podman_devices() {
    case $1 in
        all) echo all ;;
        *,*) printf %s "${1%,}" | tr , ' ' ;;
        *) seq 0 $(($1 - 1)) ;;
    esac
}

# As root of a container, which is the caller in a rootless engine: so the owner of a file that the
# caller has made is asked for inside. Only what root has added to a cache is touched.
# shellcheck disable=SC2016 # expanded in the container
in_giving_back='owner=$(stat -c %u:%g /snakeval/server/server.sh) || exit
set -- -user 0 -cnewer
find /snakeval/server -prune "$@" /snakeval/server/cache-since >/dev/null 2>&1 ||
    set -- -user 0 -newer
find /snakeval/cache.* "$@" /snakeval/server/cache-since -exec chown -h "$owner" {} +'

# Called where no container of the server is left.
give_back() {
    local options=() folder number=0 caches=("${written[@]+"${written[@]}"}")
    [ -e "$here/cache-since" ] && [ "$(id -u)" != 0 ] || return 0
    [ "$hf_model" != yes ] || caches+=("$(hf_cache)")
    for folder in "${caches[@]+"${caches[@]}"}"; do
        [ -n "$(find "$folder" ! -user "$(id -u)" -cnewer "$here/cache-since" 2>/dev/null |
            head -n 1)" ] || continue
        number=$((number + 1))
        options+=(-v "$folder:/snakeval/cache.$number")
    done
    if [ "$number" != 0 ]; then
        "$runtime" run --rm --network none --user 0:0 -v "$here:/snakeval/server:ro" \
            "${options[@]}" --entrypoint sh "$image" -c "$in_giving_back" || {
            echo "$deployment: some files in ${caches[*]} belong to another user" >&2
            return
        }
    fi
    rm -f "$here/cache-since"
}

address() {
    if on_hosts_network; then
        printf '%s:%s\n' "${SNAKEVAL_ADDRESS:-127.0.0.1}" "$port"
    else
        "$runtime" port "$container" "$port/tcp" 2>/dev/null | head -n 1
    fi
}

sweep() {
    local left since=$SECONDS
    while left=$("$runtime" ps -aq --filter "label=snakeval.deployment=$run/$deployment" \
        --filter "label=snakeval.folder=$folder" 2>/dev/null) &&
        [ -n "$left" ] && [ $((SECONDS - since)) -lt 20 ]; do
        # shellcheck disable=SC2086 # a list of ids
        "$runtime" rm -f $left >/dev/null 2>&1 || sleep 0.2
    done
    give_back
}
