"""From a checked config to runs and tasks: names, digests, servers, what is pending."""
