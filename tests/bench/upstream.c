/* The far side of a benchmark: a proxy that demands Basic credentials and the origins behind it, in
 * one thread on one epoll loop, so that the proxy before it is what is measured.
 *
 *     upstream CREDENTIALS SECONDS
 *
 * CREDENTIALS are what must stand behind "Basic " in every Proxy-Authorization; a request without
 * them gets its 407. Listens on a free port of 127.0.0.1, prints it, and ends after SECONDS.
 *
 * A request in absolute form is answered with 1 KiB. CONNECT opens a tunnel; its host says to whom:
 *
 *     source.*   sends for as long as it is read
 *     sink.*     reads, and sends one octet for each MiB
 *     whole.*    sends 64 octets when 64 have come, in however many pieces
 *     any, with port 80   the origin itself: some proxies tunnel plain requests
 *     any other  echo
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 8192, BLOCK = 1 << 18, MESSAGE = 64, MIB = 1 << 20, BODY = 1024, TURNS = 8 };

struct peer;

/* Goes on with a connection; false ends it. */
typedef bool handler(struct peer *);

struct peer {
    int socket;
    uint32_t watched;
    handler *readable, *writable;
    bool trusted;         /* inside a tunnel nobody asks for credentials */
    bool closing;         /* ends as soon as nothing is owed */
    size_t count;         /* octets of the message or MiB that is coming in */
    char *head;           /* octets of a head that is coming in, HEAD at most */
    size_t head_length;
    char *owed;           /* what the socket has not taken yet; while there is any, nothing is read */
    size_t owed_from, owed_to;
};

static handler serve;

static int poller;
static char authorization[512];
static char block[BLOCK];
static char answer[BODY + 512];
static size_t answer_length;

static const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";
static const char denied[] = "HTTP/1.1 407 Proxy Authentication Required\r\n"
                             "Proxy-Authenticate: Basic realm=\"bench\"\r\n"
                             "Content-Length: 0\r\n\r\n";

static void give_up(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(struct peer *peer, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (peer->watched == events) return;
    int operation = peer->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(poller, operation, peer->socket, &event)) give_up("epoll_ctl");
    peer->watched = events;
}

static void end(struct peer *peer)
{
    close(peer->socket);
    free(peer->head);
    free(peer->owed);
    free(peer);
}

/* Receive into `octets`, or nowhere if that is NULL. Like recv, but -1 only means "nothing yet" and
 * 0 that the connection has ended, in whatever way. */
static ssize_t receive(struct peer *peer, void *octets, size_t room)
{
    ssize_t length = recv(peer->socket, octets, room, octets ? 0 : MSG_TRUNC);
    if (length < 0) return errno == EAGAIN ? -1 : 0;
    return length;
}

/* --- sending --- */

static bool deliver(struct peer *peer)
{
    while (peer->owed_from < peer->owed_to) {
        ssize_t sent = send(peer->socket, peer->owed + peer->owed_from,
                            peer->owed_to - peer->owed_from, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN;
        peer->owed_from += (size_t)sent;
    }
    free(peer->owed);
    peer->owed = NULL;
    if (peer->closing) return false;
    watch(peer, EPOLLIN);
    return peer->readable != serve || serve(peer);
}

/* Send now what the socket takes, the rest when it takes more. */
static bool tell(struct peer *peer, const char *octets, size_t length)
{
    ssize_t sent = send(peer->socket, octets, length, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) return false;
        sent = 0;
    }
    if ((size_t)sent == length) return true;
    peer->owed_from = 0;
    peer->owed_to = length - (size_t)sent;
    peer->owed = malloc(peer->owed_to);
    if (!peer->owed) give_up("malloc");
    memcpy(peer->owed, octets + sent, peer->owed_to);
    watch(peer, EPOLLOUT);
    return true;
}

/* --- tunnels --- */

static bool echo(struct peer *peer)
{
    static char octets[BLOCK];
    ssize_t length = receive(peer, octets, sizeof octets);
    return length < 0 || (length > 0 && tell(peer, octets, (size_t)length));
}

static bool discard(struct peer *peer)
{
    return receive(peer, NULL, BLOCK) != 0;
}

static bool pour(struct peer *peer)
{
    for (int turn = 0; turn < TURNS; turn++) {
        ssize_t sent = send(peer->socket, block, sizeof block, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN;
    }
    return true;
}

static bool swallow(struct peer *peer)
{
    for (int turn = 0; turn < TURNS && !peer->owed; turn++) {
        ssize_t length = receive(peer, NULL, MIB);
        if (length <= 0) return length < 0;
        peer->count += (size_t)length;
        size_t whole = peer->count / MIB;
        peer->count %= MIB;
        if (whole && !tell(peer, block, whole)) return false;
    }
    return true;
}

static bool assemble(struct peer *peer)
{
    ssize_t length = receive(peer, NULL, MESSAGE - peer->count);
    if (length <= 0) return length < 0;
    peer->count += (size_t)length;
    if (peer->count < MESSAGE) return true;
    peer->count = 0;
    return tell(peer, block, MESSAGE);
}

static const struct {
    const char *host;
    handler *readable, *writable;
} stages[] = {
    {"source.", discard, pour},
    {"sink.", swallow, deliver},
    {"whole.", assemble, deliver},
    {"", echo, deliver},
};

static bool open_tunnel(struct peer *peer, const char *host)
{
    size_t authority = strcspn(host, " ");
    if (!tell(peer, established, sizeof established - 1)) return false;
    if (authority > 3 && !memcmp(host + authority - 3, ":80", 3)) {
        peer->trusted = true;
        return true;
    }
    size_t stage = 0;
    while (strncmp(host, stages[stage].host, strlen(stages[stage].host))) stage++;
    peer->readable = stages[stage].readable;
    peer->writable = stages[stage].writable;
    if (peer->writable == pour) watch(peer, EPOLLIN | EPOLLOUT);
    return true;
}

/* --- requests --- */

static bool has_credentials(const struct peer *peer, const char *head)
{
    const char *line = strcasestr(head, "\r\nProxy-Authorization: ");
    return peer->trusted || (line && !strncmp(strchr(line, ':') + 2, authorization, strlen(authorization)));
}

/* Answer a head, which is a string and the last thing before `surplus` octets. */
static bool respond(struct peer *peer, const char *head, size_t surplus)
{
    if (!has_credentials(peer, head)) return tell(peer, denied, sizeof denied - 1);
    if (!strncmp(head, "CONNECT ", 8)) {
        /* Nobody in these workloads speaks before the tunnel is open. */
        return !surplus && open_tunnel(peer, head + 8);
    }
    bool old = !!strstr(head, " HTTP/1.0\r\n");
    peer->closing = old ? !strcasestr(head, "\r\nConnection: keep-alive")
                        : !!strcasestr(head, "\r\nConnection: close");
    return tell(peer, answer, answer_length) && (peer->owed || !peer->closing);
}

/* Answer the heads that have come. */
static bool serve(struct peer *peer)
{
    while (!peer->owed && peer->readable == serve) {
        char *empty_line = memmem(peer->head, peer->head_length, "\r\n\r\n", 4);
        if (!empty_line) return peer->head_length < HEAD;
        empty_line[2] = 0;
        size_t used = (size_t)(empty_line + 4 - peer->head), surplus = peer->head_length - used;
        if (!respond(peer, peer->head, surplus)) return false;
        memmove(peer->head, peer->head + used, surplus);
        peer->head_length = surplus;
    }
    return true;
}

static bool read_heads(struct peer *peer)
{
    ssize_t length = receive(peer, peer->head + peer->head_length, HEAD - peer->head_length);
    if (length <= 0) return length < 0;
    peer->head_length += (size_t)length;
    return serve(peer);
}

/* --- connections --- */

static bool on_events(struct peer *peer, uint32_t events)
{
    bool lost = events & (EPOLLHUP | EPOLLERR);
    if (lost && peer->owed) return false;
    if (events & EPOLLOUT && !peer->writable(peer)) return false;
    if (!(events & EPOLLIN) && !lost) return true;
    return peer->readable == serve ? read_heads(peer) : peer->readable(peer);
}

static void welcome(int listener)
{
    int on = 1, socket;
    while ((socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *peer = calloc(1, sizeof *peer);
        if (!peer || !(peer->head = malloc(HEAD))) give_up("malloc");
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        peer->socket = socket;
        peer->readable = serve;
        peer->writable = deliver;
        watch(peer, EPOLLIN);
    }
    if (errno == EMFILE || errno == ENFILE) give_up("accept");
}

static int listen_somewhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 4096) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        give_up("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv)
{
    struct rlimit files;
    struct epoll_event events[512], incoming = {.events = EPOLLIN};
    if (argc != 3) {
        fprintf(stderr, "usage: upstream CREDENTIALS SECONDS\n");
        return 2;
    }
    alarm((unsigned)atoi(argv[2]));
    snprintf(authorization, sizeof authorization, "Basic %s\r\n", argv[1]);
    memset(block, '.', sizeof block);
    answer_length = (size_t)sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                                            "Content-Length: %d\r\n\r\n", BODY);
    memcpy(answer + answer_length, block, BODY);
    answer_length += BODY;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    int listener = listen_somewhere();
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, listener, &incoming)) give_up("epoll_ctl");
    for (;;) {
        int count = epoll_wait(poller, events, 512, -1);
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            if (!peer) welcome(listener);
            else if (!on_events(peer, events[i].events)) end(peer);
        }
    }
}
