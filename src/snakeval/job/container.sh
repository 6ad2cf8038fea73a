# What a container of the harness gets, whatever runs it. How is the runtime's to say:
#   add_mount SOURCE TARGET [ro]
#   add_name NAME          a variable of this script's environment; its value is on no command line
#   add_value NAME VALUE   a variable of the container alone, with nothing secret in it

cache=''

# The cache without the token that `hf auth login` has left there, unless the task names HF_TOKEN.
mount_cache() {
    local file folder=/snakeval/huggingface
    case $hf_home in
        *:ro) folder=/snakeval/huggingface-read-only && add_mount "$cache" "$folder" ro ;;
        *) add_mount "$cache" "$folder" ;;
    esac
    add_value HF_HOME "$folder"
    for file in token stored_tokens; do
        [ "$hf_token" = yes ] || [ ! -e "$cache/$file" ] ||
            add_mount /dev/null "$folder/$file" ro
    done
}

furnish() {
    local name file
    add_mount "$work" /results
    add_mount "$record" /snakeval/record ro
    for name in "${mounts[@]+"${mounts[@]}"}"; do
        add_mount "${name%%:*}" "${name#*:}"
    done
    if [ -n "$files" ]; then
        add_mount "$files" /snakeval/files ro
        add_value SNAKEVAL_FILES /snakeval/files
    fi
    add_value SNAKEVAL_RESULTS /results
    add_value SNAKEVAL_RECORD /snakeval/record
    # On no command line: an address may carry a key in its query.
    export SNAKEVAL_MODEL_ID="$endpoint_model" SNAKEVAL_ENDPOINT_URL="$endpoint_url"
    add_name SNAKEVAL_MODEL_ID
    add_name SNAKEVAL_ENDPOINT_URL
    for name in "${passed[@]+"${passed[@]}"}"; do
        add_name "${name#* }"
    done
    # The caller's proxies, certificate authorities and Hugging Face cache, if there are any.
    for name in $proxy_names NO_PROXY no_proxy; do
        [ -z "${!name:-}" ] || is_passed "$name" || add_name "$name"
    done
    for name in $ca_names; do
        file=${!name:-}
        if [ ! -e "$file" ] || is_passed "$name"; then
            continue
        fi
        add_mount "$(absolute "$file")" "/snakeval/ca/$name" ro
        add_value "$name" "/snakeval/ca/$name"
    done
    cache=$(hf_cache)
    if [ -n "$cache" ]; then
        mount_cache
    fi
}
