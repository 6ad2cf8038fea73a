# How the server runs in a container of pyxis: a step of this Slurm job. On several nodes:
# server_nodes.sh.

launch() {
    local name names='' list='' each cache='' own=() options=()
    for each in "${mounts[@]+"${mounts[@]}"}"; do list=$list${list:+,}$each; done
    while read -r each; do list=$list${list:+,}$each; done < <(hidden_tokens)
    [ "$hf_model" != yes ] || cache=$(hf_cache)
    if [ -n "$cache" ]; then
        export HF_HOME=/snakeval/huggingface
        own+=(HF_HOME)
        list=$list${list:+,}$cache:$HF_HOME$hf_mode
    fi
    ! knows_hubs_token || is_passed HF_TOKEN || own+=(HF_TOKEN)
    # Named, a variable of the job takes the place of the image's own.
    own+=(SNAKEVAL_HOST SNAKEVAL_PORT)
    [ -z "$several" ] || own+=(MASTER_IP INSTANCE_MASTER_IP ALL_NODE_IPS INSTANCE_ID)
    for name in "${passed[@]##* }" "${own[@]}"; do
        [ -z "${!name+set}" ] && [ -z "$several" ] || names=$names${names:+,}$name
    done
    unset PYTHONPATH PYTHONHOME # the image's Python finds its own modules
    options=(--container-image "$image" --container-env "$names")
    [ "$mount_home" = yes ] || options+=(--no-container-mount-home)
    options+=(${list:+--container-mounts "$list"})
    if [ -n "$several" ]; then
        in_runtime=("${options[@]}")
        launch_on_nodes
    fi
    exec srun --overlap --mpi=none --export=ALL --nodes=1 --ntasks=1 --ntasks-per-node=1 --mem=0 \
        --kill-on-bad-exit=1 "${options[@]}" sh -c "$(named)
$(server_command)"
}

# shellcheck disable=SC2154 # set where there are several instances
start_proxy() {
    exec "$@" --no-container-mount-home --container-image "$proxy_image" \
        --container-mounts "$here/haproxy.cfg:/haproxy.cfg:ro" haproxy -f /haproxy.cfg
}
