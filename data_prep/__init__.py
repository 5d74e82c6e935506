"""From real or synthetic portraits to shards: cropping, 3DMM fitting, depth, audio. Imports the leaves of jdap only."""
