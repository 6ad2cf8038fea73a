# How the server runs as an endpoint on Lepton. This machine creates it, watches it, deletes it.
# The server's command above is the endpoint's spec: it names secrets and holds none.

supervision=(--key "$key_name")

endpoint() { PYTHONSAFEPATH='' "$python" -B -m snakeval.executors.lepton.endpoint "$@"; }

serve() {
    server_command >"$here/endpoint_spec.json" || exit 1
    exec > >(tool attempt redact "${secret_names[@]+"${secret_names[@]}"}") 2>&1
    endpoint serve "$here"
}

address() { cat "$here/address" 2>/dev/null; }

sweep() {
    rm -f "$here/address"
    [ ! -e "$here/lepton.json" ] || endpoint sweep "$here"
}
