import time
for at in range(4000):
    print("a line that takes room on the disk", at, flush=True)
time.sleep(600)
