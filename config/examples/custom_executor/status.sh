#!/usr/bin/env bash
# What became of a job: running, success or failed. A query that fails is no failed job.
state=$(squeue --noheader --states=all --jobs="$1" --format=%T 2>/dev/null)
case $state in
    COMPLETED) echo success ;;
    BOOT_FAIL | CANCELLED | DEADLINE | FAILED | NODE_FAIL | OUT_OF_MEMORY | PREEMPTED | TIMEOUT)
        echo failed
        ;;
    *) echo running ;;
esac
