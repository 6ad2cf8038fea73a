"""Runs that are started from a machine that is not on the cluster, by ssh and rsync.

`ssh` is the one place that calls both, and says in one sentence why they fail; `parcel` what is
brought; `begin` a start; `notes` which runs were started from here, and where they are; `verbs`
what can be asked about them from here; `there` is what answers on the login node.
"""
