# How the server runs in containers of pyxis: a step of this Slurm job, with a task on each node.

# Several instances are behind a proxy, whose port is the one that benchmarks ask.
[ "$instances" = 1 ] || supervision=(--own-network --port "$proxy_port" --fixed-port)

launch() {
    local name names='' list='' each cache='' own=() options total=$((nodes * instances)) script
    options=(--overlap --mpi=none --export=ALL --no-container-mount-home)
    options+=("--nodes=$total" "--ntasks=$total" --ntasks-per-node=1 --kill-on-bad-exit=1)
    for each in "${mounts[@]+"${mounts[@]}"}"; do list=$list${list:+,}$each; done
    while read -r each; do list=$list${list:+,}$each; done < <(hidden_tokens)
    [ "$hf_model" != yes ] || cache=$(hf_cache)
    if [ -n "$cache" ]; then
        export HF_HOME=/snakeval/huggingface
        own+=(HF_HOME)
        list=$list${list:+,}$cache:$HF_HOME$hf_mode
    fi
    script=$(server_command)
    if [ "$total" -gt 1 ]; then
        script=$on_each_node
        ALL_NODE_IPS=$(node_addresses)
        export ALL_NODE_IPS NODES_PER_INSTANCE="$nodes" NUM_INSTANCES="$instances" RAY="$ray"
        export SNAKEVAL_HOST=0.0.0.0 SNAKEVAL_COMMAND
        SNAKEVAL_COMMAND=$(server_command)
        [ "$instances" = 1 ] || { export SNAKEVAL_PORT="$port"; proxy & }
    fi
    ! knows_hubs_token || is_passed HF_TOKEN || own+=(HF_TOKEN)
    # Named, a variable of the job takes the place of the image's own.
    for name in "${passed[@]##* }" "${own[@]+"${own[@]}"}" SNAKEVAL_HOST SNAKEVAL_PORT; do
        [ -z "${!name+set}" ] || names=$names${names:+,}$name
    done
    unset PYTHONPATH PYTHONHOME # the image's Python finds its own modules
    exec srun "${options[@]}" --container-image "$image" --container-env "$names" \
        ${list:+--container-mounts "$list"} sh -c "$(named)
$script"
}

# The address of every node of the job, in Slurm's order, with commas between them.
node_addresses() {
    scontrol show hostnames "$SLURM_JOB_NODELIST" | while read -r name; do
        getent hosts "$name" | sed -n '1s/ .*//p'
    done | paste -s -d , -
}

# On each node: the variables that the launcher's commands know; with ray, the first node of an
# instance waits for the others and serves, and the others work for it.
# shellcheck disable=SC2016 # expanded in the containers
on_each_node='
INSTANCE_ID=$((SLURM_PROCID / NODES_PER_INSTANCE))
INSTANCE_RANK=$((SLURM_PROCID % NODES_PER_INSTANCE))
MASTER_IP=$(printf %s "$ALL_NODE_IPS" | cut -d , -f $((INSTANCE_ID * NODES_PER_INSTANCE + 1)))
export INSTANCE_ID INSTANCE_RANK MASTER_IP INSTANCE_MASTER_IP="$MASTER_IP"
[ "$RAY" = yes ] || exec sh -c "$SNAKEVAL_COMMAND"
if [ "$INSTANCE_RANK" != 0 ]; then
    until ray start --address="$MASTER_IP:6379" --block; do sleep 5; done
    exit
fi
export VLLM_HOST_IP="$MASTER_IP" RAY_ADDRESS="$MASTER_IP:6379"
ray start --head --port=6379
until [ "$(ray status 2>/dev/null | grep -c node_)" -ge "$NODES_PER_INSTANCE" ]; do sleep 5; done
exec sh -c "$SNAKEVAL_COMMAND"'

# haproxy on the first node, in front of the first node of every instance.
proxy() {
    local config=$here/haproxy.cfg instance address
    {
        printf '%s\n' defaults ' mode http' ' timeout connect 10s' ' timeout client 1h' \
            ' timeout server 1h' 'frontend all' " bind $SNAKEVAL_ADDRESS:$proxy_port" \
            ' default_backend instances' 'backend instances' ' balance leastconn' \
            " option httpchk GET $proxy_health" " http-check expect status $proxy_status"
        instance=0
        while [ "$instance" -lt "$instances" ]; do
            address=$(printf %s "$ALL_NODE_IPS" | cut -d , -f $((instance * nodes + 1)))
            printf ' server instance%s %s:%s check\n' "$instance" "$address" "$port"
            instance=$((instance + 1))
        done
    } >"$config"
    exec srun --overlap --nodes=1 --ntasks=1 --relative=0 --mpi=none --export=ALL \
        --no-container-mount-home --container-image "$proxy_image" \
        --container-mounts "$config:/haproxy.cfg:ro" haproxy -f /haproxy.cfg
}
