# How the server runs as a process of this machine, or of a container that shares its network.

supervision=(--own-network)
[ -z "$port" ] || supervision+=(--port "$port" --fixed-port)

# What the process is; the runtimes of clusters have another one.
launch() {
    local cache
    cache=$(hf_cache)
    [ -z "$cache" ] || export HF_HOME="$cache"
    [ -z "${several:-}" ] || launch_on_nodes
    # shellcheck disable=SC2086 # a list of names
    launch_as PATH HF_HOME SNAKEVAL_HOST SNAKEVAL_PORT CUDA_VISIBLE_DEVICES NO_PROXY no_proxy \
        $ca_names -- "$(command -v bash)" -c "$(server_command)"
}

serve() {
    local server watchdog code devices=${SNAKEVAL_DEVICES:-}
    export SNAKEVAL_HOST="${SNAKEVAL_ADDRESS:-127.0.0.1}" SNAKEVAL_PORT="${SNAKEVAL_PORT:-$port}"
    # A cluster gives a job some of the node's GPUs, and has set the variable.
    case $gpus in
        *,*) [ -n "$devices${SLURM_JOB_GPUS:-}" ] || devices=$gpus ;;
    esac
    [ -z "$devices" ] || export CUDA_VISIBLE_DEVICES="$devices"
    PATH="$(dirname "$python"):$PATH"
    export PATH
    exec 3<&0 > >(tool attempt redact "${secret_names[@]+"${secret_names[@]}"}") 2>&1
    set -m # a process group of its own, which can be ended as a whole
    (launch) </dev/null 3<&- &
    server=$!
    # The watchdog: ends the group when the lifeline's writing end is gone.
    (
        trap '' TERM INT HUP
        read -r _ <&3
        kill -TERM -- "-$server"
        sleep 5
        kill -KILL -- "-$server"
    ) >/dev/null 2>&1 &
    watchdog=$!
    set +m
    wait "$server"
    code=$?
    kill -KILL -- "-$server" 2>/dev/null # what the server may have left in its group
    kill -KILL -- "-$watchdog" 2>/dev/null
    exit "$code"
}

start_proxy() { exec "$@" haproxy -f "$here/haproxy.cfg"; }
address() { :; }
sweep() { :; }
