# How a server runs on several nodes of its Slurm job: a step for each instance. The words that stand
# before the command are the runtime's.

# Several instances are behind a proxy, whose port is the one that benchmarks ask.
[ "$instances" = 1 ] || supervision=(--own-network --port "$proxy_port" --fixed-port)

# nodes and tasks are those of each instance; in_runtime are words for srun.
in_runtime=()
launch_on_nodes() {
    local hosts=() options=(--overlap --mpi=none --export=ALL --mem=0 --kill-on-bad-exit=1)
    local instance=0 own steps=() each code
    while read -r each; do hosts+=("$each"); done < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
    ALL_NODE_IPS=$(tool slurm_job addresses "${hosts[@]}") || exit 1
    SNAKEVAL_COMMAND=$(server_command)
    export ALL_NODE_IPS SNAKEVAL_COMMAND SNAKEVAL_HOST=0.0.0.0
    export NODES_PER_INSTANCE="$nodes" NUM_INSTANCES="$instances" RAY="$ray"
    [ "$instances" = 1 ] || export SNAKEVAL_PORT="${port:-8000}"
    options+=("--nodes=$nodes" "--ntasks=$tasks")
    [ $((tasks % nodes)) != 0 ] || options+=("--ntasks-per-node=$((tasks / nodes))")
    [ -z "${SLURM_CPUS_PER_TASK:-}" ] || options+=("--cpus-per-task=$SLURM_CPUS_PER_TASK")
    while [ "$instance" -lt "$instances" ]; do
        own=("${hosts[@]:$((instance * nodes)):$nodes}")
        MASTER_IP=$(address_of "$((instance * nodes))")
        export MASTER_IP INSTANCE_MASTER_IP="$MASTER_IP" INSTANCE_ID="$instance"
        srun "${options[@]}" --nodelist "$(printf '%s\n' "${own[@]}" | paste -s -d , -)" \
            "${in_runtime[@]+"${in_runtime[@]}"}" sh -c "$(named)
$on_each_node" &
        steps+=($!)
        instance=$((instance + 1))
    done
    if [ "$instances" != 1 ]; then
        proxy &
        steps+=($!)
    fi
    # One that ends takes the others with it: the supervisor starts all of them again.
    while for each in "${steps[@]}"; do kill -0 "$each" 2>/dev/null || break 2; done; do sleep 1; done
    wait "$each"
    code=$?
    kill -TERM "${steps[@]}" 2>/dev/null
    wait
    exit "$code"
}

address_of() { printf %s "$ALL_NODE_IPS" | cut -d , -f "$(($1 + 1))"; }

# On each node, the variables that the launcher's commands know. With ray, the first task of an
# instance waits for the others and serves, and the others work for it.
# shellcheck disable=SC2016 # expanded where the server runs
on_each_node='
PROC_ID=${SLURM_PROCID:-0} INSTANCE_RANK=${SLURM_PROCID:-0}
NODE_IP=$(printf %s "$ALL_NODE_IPS" | cut -d , -f $((INSTANCE_ID * NODES_PER_INSTANCE + SLURM_NODEID + 1)))
export PROC_ID INSTANCE_RANK NODE_IP
[ "$RAY" = yes ] || exec sh -c "$SNAKEVAL_COMMAND"
export VLLM_HOST_IP="$NODE_IP" RAY_ADDRESS="$MASTER_IP:6379"
if [ "$PROC_ID" != 0 ]; then
    until ray start --address="$RAY_ADDRESS" --node-ip-address="$NODE_IP" --block; do sleep 5; done
    exit
fi
ray start --head --port=6379 --node-ip-address="$NODE_IP" --disable-usage-stats || exit 1
until [ "$(ray status 2>/dev/null | grep -c node_)" -ge "$NODES_PER_INSTANCE" ]; do sleep 5; done
exec sh -c "$SNAKEVAL_COMMAND"'

# Whether an instance is healthy, by the number of its first node.
is_healthy() {
    "$python" -B -c 'import sys; sys.path.insert(0, sys.argv[1]); from job.endpoint import answers
sys.exit(not answers(sys.argv[2]))' "$lib" \
        "http://$(address_of "$1"):$SNAKEVAL_PORT$proxy_health"
}

# haproxy on the first node, in front of the first node of every instance; when all are healthy, so
# that none has to answer for the others.
proxy() {
    local config=$here/haproxy.cfg instance=0
    while [ "$instance" -lt "$instances" ]; do
        until [ "$proxy_status" != 200 ] || is_healthy "$((instance * nodes))"; do sleep 2; done
        instance=$((instance + 1))
    done
    instance=0
    {
        printf '%s\n' defaults ' mode http' ' timeout connect 10s' ' timeout client 1h' \
            ' timeout server 1h' 'frontend all' " bind $SNAKEVAL_ADDRESS:$proxy_port" \
            ' default_backend instances' 'backend instances' ' balance leastconn' \
            " option httpchk GET $proxy_health" " http-check expect status $proxy_status"
        while [ "$instance" -lt "$instances" ]; do
            printf ' server instance%s %s:%s check\n' "$instance" \
                "$(address_of "$((instance * nodes))")" "$SNAKEVAL_PORT"
            instance=$((instance + 1))
        done
    } >"$config"
    start_proxy srun --overlap --nodes=1 --ntasks=1 --ntasks-per-node=1 --relative=0 --mem=0 \
        --mpi=none --export=ALL
}
