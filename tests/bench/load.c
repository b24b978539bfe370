/* The near side of a benchmark: programs that use a proxy, in one thread on one epoll loop.
 *
 *     load MODE PORT CONNECTIONS WARM_UP SECONDS [CREDENTIALS]
 *
 *     get    GET of 1 KiB on connections that stay open
 *     new    the same on a new connection each; its time begins with connect()
 *     tunnel connect, CONNECT, one octet there and back, close
 *     ping   64 octets there and back in open tunnels
 *     split  the same, written as 32 octets, 0.3 ms of nothing, 32 octets
 *     down   read as much as comes out of tunnels
 *     up     write as much as goes into tunnels; counted when the far end has acknowledged it
 *     hold   open tunnels, at most 50 at once, and try each; print; wait for the end of standard
 *            input; try each again; print. After 100 failures no more are opened
 *
 * Every connection does one thing after the other: a closed loop. What is done before WARM_UP is
 * over counts for `all` only. CREDENTIALS are for an upstream that is asked directly. Prints JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tally.h"

enum mode { GET, NEW, TUNNEL, PING, SPLIT, DOWN, UP, HOLD };
enum { HEAD = 4096, BLOCK = 1 << 18, MESSAGE = 64, MIB = 1 << 20, TURNS = 8, AT_ONCE = 50, SOURCES = 8,
       HOPELESS = 100 };

static const char *const modes[] = {"get", "new", "tunnel", "ping", "split", "down", "up", "hold"};
static const char *const hosts[] = {"", "", "echo", "echo", "whole", "source", "sink", "echo"};

static const uint64_t PATIENCE = 5000000000, SWEEP = 10000000;   /* nanoseconds */

struct client;

/* Goes on with a connection whose socket is ready. */
typedef void step(struct client *);

struct client {
    int socket;           /* -1: none */
    uint32_t watched;
    step *next;
    bool failed, served, last;   /* it has answered before; the answer under way is its last */
    uint64_t began, moved;       /* this operation; its last progress */
    uint64_t left;        /* octets that are still to come */
    size_t head_length;
    char head[HEAD + 1];
};

static enum mode mode;
static int poller, connections;
static struct client *clients;
static struct sockaddr_in proxy = {.sin_family = AF_INET};
static char request[1024], block[BLOCK];
static int begun, opening;        /* hold: of the connections; neither open nor given up yet */

static step on_connected, on_head, on_body, on_octets, on_flow, on_held;

static void wait_for(struct client *client, uint32_t events, step *next)
{
    struct epoll_event event = {.events = events, .data.ptr = client};
    client->next = next;
    if (client->watched == events) return;
    int operation = client->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(poller, operation, client->socket, &event)) give_up("epoll_ctl");
    client->watched = events;
}

static void hang_up(struct client *client)
{
    close(client->socket);
    client->socket = -1;
    client->watched = 0;
}

/* Count a failure. The sweep begins anew, so that errors do not spin. */
static void fail(struct client *client, enum failure kind)
{
    static int lost;
    tally.failed[kind]++;
    client->failed = true;
    if (mode == HOLD && client->next != on_held) opening--;
    if (mode == HOLD && ++lost == HOPELESS) connections = begun;
    if (client->socket >= 0) hang_up(client);
}

/* --- one operation after the other --- */

static void begin(struct client *client)
{
    static uint32_t source;
    struct sockaddr_in from = {.sin_family = AF_INET};
    int on = 1;
    client->began = client->moved = now();
    client->served = client->failed = false;
    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->socket < 0) give_up("socket");
    setsockopt(client->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (mode == NEW || mode == TUNNEL) {
        /* From several addresses: one has 28,000 ports, each unusable for a minute after its use. */
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + source++ % SOURCES);
        setsockopt(client->socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(client->socket, (struct sockaddr *)&from, sizeof from)) give_up("bind");
    }
    if (connect(client->socket, (struct sockaddr *)&proxy, sizeof proxy) && errno != EINPROGRESS)
        fail(client, REFUSED);
    else
        wait_for(client, EPOLLOUT, on_connected);
}

static void finish(struct client *client)
{
    client->served = true;
    count_operation(client->began);
}

/* The other side has closed. One that did so between two answers is asked again, as programs do. */
static void on_cut(struct client *client)
{
    uint64_t began = client->began;
    if (mode != GET || !client->served || client->head_length) {
        fail(client, CUT);
        return;
    }
    tally.reopened++;
    hang_up(client);
    begin(client);
    client->began = began;
}

static bool say(struct client *client, const char *what, size_t length)
{
    if (send(client->socket, what, length, MSG_NOSIGNAL) == (ssize_t)length) return true;
    on_cut(client);
    return false;
}

/* Receive what has come, nowhere if `into` is NULL; 0: nothing for now, or the end, handled. */
static size_t receive(struct client *client, void *into, size_t room)
{
    ssize_t length = recv(client->socket, into, room, into ? 0 : MSG_TRUNC);
    if (length > 0) {
        client->moved = now();
        return (size_t)length;
    }
    if (length == 0 || errno != EAGAIN) on_cut(client);
    return 0;
}

static void ask(struct client *client)
{
    client->head_length = 0;
    if (say(client, request, strlen(request))) wait_for(client, EPOLLIN, on_head);
}

static void bounce(struct client *client, size_t length)
{
    client->began = client->moved = now();
    client->left = length;
    if (mode == SPLIT) {
        if (!say(client, block, length / 2)) return;
        usleep(300);
        length -= length / 2;
    }
    if (say(client, block, length)) wait_for(client, EPOLLIN, on_octets);
}

/* --- steps --- */

static void on_connected(struct client *client)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(client->socket, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) fail(client, REFUSED);
    else ask(client);
}

static void on_open(struct client *client)
{
    uint64_t began = client->began;
    if (mode == DOWN || mode == UP) {
        wait_for(client, mode == UP ? EPOLLIN | EPOLLOUT : EPOLLIN, on_flow);
        return;
    }
    bounce(client, mode == PING || mode == SPLIT ? MESSAGE : 1);
    if (mode == TUNNEL || mode == HOLD) client->began = began;
}

static void on_answered(struct client *client)
{
    finish(client);
    if (mode == NEW || client->last) {
        hang_up(client);
        begin(client);
    } else {
        client->began = client->moved = now();
        ask(client);
    }
}

static void on_answer(struct client *client, size_t surplus)
{
    static const char name[] = "\r\nContent-Length:";
    const char *field = strcasestr(client->head, name);
    client->last = client->head[7] == '0' || strcasestr(client->head, "\r\nConnection: close");
    client->left = field ? strtoul(field + sizeof name - 1, NULL, 10) : 0;
    if (!client->left || surplus > client->left) {
        fail(client, MALFORMED);
        return;
    }
    client->left -= surplus;
    if (client->left) wait_for(client, EPOLLIN, on_body);
    else on_answered(client);
}

static void on_head(struct client *client)
{
    size_t length = receive(client, client->head + client->head_length, HEAD - client->head_length);
    if (!length) return;
    client->head_length += length;
    client->head[client->head_length] = 0;
    char *end = memmem(client->head, client->head_length, "\r\n\r\n", 4);
    if (!end) {
        if (client->head_length == HEAD) fail(client, MALFORMED);
        return;
    }
    size_t surplus = client->head_length - (size_t)(end + 4 - client->head);
    end[2] = 0;
    if (strncmp(client->head, "HTTP/1.", 7) || client->head[8] != ' ') fail(client, MALFORMED);
    else if (strncmp(client->head + 9, "200", 3)) fail(client, STATUS);
    else if (mode == GET || mode == NEW) on_answer(client, surplus);
    else if (surplus && mode != DOWN) fail(client, MALFORMED);
    else on_open(client);
}

static void on_body(struct client *client)
{
    client->left -= receive(client, NULL, client->left);
    if (client->socket >= 0 && !client->left) on_answered(client);
}

/* What was sent comes back. */
static void on_octets(struct client *client)
{
    size_t length = receive(client, NULL, client->left);
    client->left -= length;
    if (!length || client->left) return;
    finish(client);
    if (mode == HOLD) {
        opening--;
        wait_for(client, EPOLLIN, on_held);
    } else if (mode == TUNNEL) {
        hang_up(client);
        begin(client);
    } else {
        bounce(client, MESSAGE);
    }
}

/* Nothing comes out of a tunnel that is only held, unless it is closed. */
static void on_held(struct client *client)
{
    if (receive(client, NULL, BLOCK)) fail(client, MALFORMED);
}

static void on_flow(struct client *client)
{
    for (int turn = 0; turn < TURNS; turn++) {
        size_t length = receive(client, NULL, MIB);
        if (!length) break;
        count_octets(mode == UP ? length * MIB : length);
    }
    for (int turn = 0; mode == UP && client->socket >= 0 && turn < TURNS; turn++) {
        ssize_t sent = send(client->socket, block, BLOCK, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return;
        if (sent < 0) on_cut(client);
    }
}

/* --- the whole --- */

/* Give up on what takes too long; begin anew what has failed. */
static void sweep(uint64_t t)
{
    for (int i = 0; i < connections; i++) {
        struct client *client = &clients[i];
        if (client->failed) {
            if (mode != HOLD) begin(client);
        } else if (client->next && client->next != on_held && t > client->moved + PATIENCE) {
            fail(client, LATE);
        }
    }
}

static void run(uint64_t until, bool watch_input)
{
    struct epoll_event events[512];
    uint64_t swept = now(), t;
    while ((t = now()) < until) {
        while (mode == HOLD && begun < connections && opening < AT_ONCE) {
            opening++;
            begin(&clients[begun++]);
        }
        if (mode == HOLD && !watch_input && !opening && begun == connections) return;
        int count = epoll_wait(poller, events, 512, (int)(SWEEP / (SECOND / 1000)));
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client && client->socket >= 0) client->next(client);
            else if (!client && watch_input) return;
        }
        if (t > swept + SWEEP) {
            swept = t;
            sweep(t);
        }
    }
}

static void hold(void)
{
    struct epoll_event input = {.events = EPOLLIN};
    begin_measuring(now(), UINT64_MAX);
    run(now() + 120 * SECOND, false);
    tally.over = now();
    report();
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input)) give_up("standard input must be a pipe");
    run(now() + 600 * SECOND, true);
    epoll_ctl(poller, EPOLL_CTL_DEL, 0, NULL);
    begin_measuring(now(), UINT64_MAX);
    for (int i = 0; i < connections; i++)
        if (clients[i].socket >= 0) {
            opening++;
            bounce(&clients[i], 1);
        }
    run(now() + 2 * PATIENCE, false);
    tally.over = now();
    report();
}

int main(int argc, char **argv)
{
    struct rlimit files;
    char credentials[512] = "";
    while (argc > 5 && mode <= HOLD && strcmp(argv[1], modes[mode])) mode++;
    if (argc < 6 || mode > HOLD || (connections = atoi(argv[3])) < 1) {
        fprintf(stderr, "usage: load MODE PORT CONNECTIONS WARM_UP SECONDS [CREDENTIALS]\n");
        return 2;
    }
    proxy.sin_port = htons((uint16_t)atoi(argv[2]));
    proxy.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (argc > 6)
        snprintf(credentials, sizeof credentials, "Proxy-Authorization: Basic %s\r\n", argv[6]);
    /* A name that no resolver knows: whoever looks it up fails, and is seen to. */
    if (mode == GET || mode == NEW)
        snprintf(request, sizeof request, "GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n"
                 "User-Agent: load\r\nAccept: */*\r\n%s\r\n", credentials);
    else
        snprintf(request, sizeof request, "CONNECT %s.test:443 HTTP/1.1\r\nHost: %s.test:443\r\n"
                 "User-Agent: load\r\n%s\r\n", hosts[mode], hosts[mode], credentials);
    memset(block, 0x17, sizeof block);   /* not text: some proxies look what a tunnel begins with */
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc((size_t)connections, sizeof *clients);
    if (poller < 0 || !clients) give_up("calloc");
    for (int i = 0; i < connections; i++) clients[i].socket = -1;

    if (mode == HOLD) {
        hold();
        return 0;
    }
    uint64_t measured = now() + (uint64_t)(atof(argv[4]) * (double)SECOND);
    begin_measuring(measured, measured + (uint64_t)(atof(argv[5]) * (double)SECOND));
    alarm((unsigned)(atof(argv[4]) + atof(argv[5])) + 60);
    for (int i = 0; i < connections; i++) begin(&clients[i]);
    run(tally.over, false);
    report();
    return 0;
}
