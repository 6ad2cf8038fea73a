# How the server runs in a container of apptainer: processes of this user, on the node's network.

launch() {
    local options=(--cleanenv --writable-tmpfs --no-mount cwd) each name cache='' own=()
    [ "$mount_home" = yes ] || options+=(--no-home)
    [ ! -e /dev/nvidiactl ] || options+=(--nv)
    for each in "${mounts[@]+"${mounts[@]}"}"; do options+=(--bind "$each"); done
    while read -r each; do options+=(--bind "$each"); done < <(hidden_tokens)
    [ "$hf_model" != yes ] || cache=$(hf_cache)
    if [ -n "$cache" ]; then
        export HF_HOME=/snakeval/huggingface
        own+=(HF_HOME)
        options+=(--bind "$cache:$HF_HOME$hf_mode")
    fi
    # With this prefix a variable reaches the container; on the command line everybody could read it.
    for name in "${passed[@]##* }" "${own[@]+"${own[@]}"}" SNAKEVAL_HOST SNAKEVAL_PORT CUDA_VISIBLE_DEVICES \
        $proxy_names NO_PROXY no_proxy; do
        [ -z "${!name+set}" ] || export "APPTAINERENV_$name=${!name}"
    done
    if knows_hubs_token && ! is_passed HF_TOKEN && [ -n "${HF_TOKEN+set}" ]; then
        export "APPTAINERENV_HF_TOKEN=$HF_TOKEN"
    fi
    exec apptainer exec "${options[@]}" "$image" sh -c "$(named)
$(server_command)"
}
