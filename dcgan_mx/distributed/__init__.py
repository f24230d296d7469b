"""Several processes that train together: started, watched and ended as one."""
