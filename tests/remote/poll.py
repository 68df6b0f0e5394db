"""Waits for descriptors of both sides in one poll, select and epoll; copies, forks, signals. argv: a directory of the server's."""
import os, select, signal, sys, threading, time

fifo = sys.argv[1] + "/fifo"
os.mkfifo(fifo)
r, w = os.pipe()
f = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
names = {r: "pipe", f: "fifo"}
poll = select.poll()
poll.register(r, select.POLLIN)
poll.register(f, select.POLLIN)


def ready(timeout):
    return sorted(names[fd] for fd, _ in poll.poll(timeout))


print("nothing", ready(50))
os.write(w, b"x")
print("written here", ready(10000))
os.write(f, b"yy")
print("written there", ready(10000))
print(os.read(r, 9), os.read(f, 9), ready(50))
epoll = select.epoll()
epoll.register(f, select.EPOLLIN)
epoll.register(r, select.EPOLLIN | select.EPOLLET)
later = threading.Thread(target=lambda: (time.sleep(0.2), os.write(f, b"z")))
later.start()
print("epoll", [names[fd] for fd, _ in epoll.poll(10)])
later.join()
print("select", [names[fd] for fd in select.select([f, r], [], [], 10)[0]], os.read(f, 9))
print("select", select.select([f, r], [], [], 0.05))
file = os.open(sys.argv[1] + "/f1", os.O_RDONLY)
try:
    epoll.register(file)
except OSError as error:
    print(error)
copy = os.dup(file)
os.close(file)
print(os.read(copy, 4))
if os.fork() == 0:
    print("child", os.read(copy, 1))
    sys.stdout.flush()
    os._exit(0)
os.wait()
print("parent", os.read(copy, 9), os.fstat(copy).st_size)
os.set_inheritable(copy, True)
os.lseek(copy, 0, 0)
sys.stdout.flush()
os.spawnlp(os.P_WAIT, "sh", "sh", "-c", f"cat <&{copy}")


class Alarm(Exception):
    pass


def on_alarm(*_):
    raise Alarm


signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.3)
blocking = os.open(fifo, os.O_RDWR)
try:
    os.read(blocking, 1)
except Alarm:
    print("interrupted")
