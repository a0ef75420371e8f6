/* The floor under every chat server: what comes from one person of a room is written to everybody in it, one write(2) for each
   delivery, and nothing else. It reads no byte: whoever sends, sends whole messages, ready to be passed on. The n-th connection
   sits in room n / MEMBERS. One thread, one epoll. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PEOPLE_MAX = 20000, EVENTS_MAX = 512 };
static int people[PEOPLE_MAX], seat_of[PEOPLE_MAX], seated;
static char buffer[32768];

static void must(int result, const char *what) {
  if (result < 0) { perror(what); exit(1); }
}

int main(int count, char **words) {
  if (count != 3) { fprintf(stderr, "usage: floor PORT MEMBERS\n"); return 2; }
  int members = atoi(words[2]), on = 1;
  struct sockaddr_in mine = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(words[1])) };
  mine.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
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
        int person = accept(listener, 0, 0);
        if (person < 0 || person >= PEOPLE_MAX || seated == PEOPLE_MAX) continue;
        setsockopt(person, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        event.data.fd = person;
        must(epoll_ctl(epoll, EPOLL_CTL_ADD, person, &event), "epoll_ctl");
        seat_of[person] = seated, people[seated++] = person;
        continue;
      }
      ssize_t got = recv(from, buffer, sizeof buffer, MSG_DONTWAIT);
      if (got < 0) continue;
      /* Whoever looks whether somebody listens comes and goes first, and sits nowhere. */
      if (got == 0) {
        if (seat_of[from] == seated - 1) seated--;
        close(from);
        continue;
      }
      int first = seat_of[from] / members * members;
      for (int seat = first; seat < first + members && seat < seated; seat++) {
        if (write(people[seat], buffer, (size_t)got) != got) return 1;
      }
    }
  }
}
