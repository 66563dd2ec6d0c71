"""Runs of many images, each by the run of one: started together on the same workers, resumed and verified as one."""
