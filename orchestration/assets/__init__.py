"""The stages of the data's path as Dagster assets, one file each; see `orchestration`."""
