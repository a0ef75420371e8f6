/* The floor under every proxy of one answer per request: receive, send, receive, send, and nothing else.
   It reads no byte: what comes from a client goes to the connection that belongs to it, and back. One thread, one epoll. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 65536, EVENTS_MAX = 512 };
static int other[CONNECTIONS_MAX];
static char buffer[32768];

static void must(int result, const char *what) {
  if (result < 0) { perror(what); exit(1); }
}

static struct sockaddr_in local(const char *port) {
  struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)) };
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static void watch(int epoll, int descriptor) {
  struct epoll_event event = { .events = EPOLLIN, .data.fd = descriptor };
  int on = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event), "epoll_ctl");
}

int main(int count, char **words) {
  if (count != 3) { fprintf(stderr, "usage: floor PORT UPSTREAM_PORT\n"); return 2; }
  struct sockaddr_in mine = local(words[1]), upstream = local(words[2]);
  int on = 1, epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  must(bind(listener, (struct sockaddr *)&mine, sizeof mine), "bind");
  must(listen(listener, 4096), "listen");
  struct epoll_event event = { .events = EPOLLIN, .data.fd = listener }, events[EVENTS_MAX];
  must(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event), "epoll_ctl");
  for (;;) {
    int ready = epoll_wait(epoll, events, EVENTS_MAX, -1);
    for (int at = 0; at < ready; at++) {
      int from = events[at].data.fd;
      if (from == listener) {
        int client = accept(listener, 0, 0), server = socket(AF_INET, SOCK_STREAM, 0);
        if (client < 0) continue;
        must(connect(server, (struct sockaddr *)&upstream, sizeof upstream), "connect");
        other[client] = server, other[server] = client;
        watch(epoll, client), watch(epoll, server);
        continue;
      }
      ssize_t got = recv(from, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got > 0) { if (send(other[from], buffer, (size_t)got, MSG_NOSIGNAL) != got) return 1; }
      else if (got == 0 && other[from]) {
        int to = other[from];
        other[from] = other[to] = 0;
        close(from), close(to);
      }
    }
  }
}
