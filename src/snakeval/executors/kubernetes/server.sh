# How the server runs on Kubernetes: a Deployment behind a Service. This machine creates, watches and
# deletes them; what Kubernetes says of its readiness is its health. The server's command above is
# what they are: it names Secrets and holds none.

supervision=(--health-is-told)

endpoint() { PYTHONSAFEPATH='' "$python" -B -m snakeval.executors.kubernetes.endpoint "$@"; }

serve() {
    server_command >"$here/endpoint_spec.json" || exit 1
    endpoint serve "$here"
}

address() { cat "$here/address" 2>/dev/null; }

# What a dead start has left, `serve` takes over.
sweep() {
    rm -f "$here/address"
    [ "${1:-}" = before-start ] || [ ! -e "$here/kubernetes.json" ] || endpoint sweep "$here"
}
