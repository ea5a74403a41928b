"""Many runs: a grid read from YAML, checked, estimated and run on processes, a shared folder or Dask."""
