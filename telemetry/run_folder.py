"""Names in the folder that belongs to one start of a program. `worker/health.py` reads them too."""

FOLDER_PREFIX = "md5-light-metrics-"
HEARTBEAT_PREFIX = "heartbeat_"  # of a file for each loop: heartbeat_PID_MASTER_LOOP
