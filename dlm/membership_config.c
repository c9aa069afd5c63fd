// SPDX-License-Identifier: Apache-2.0
// What corosync's configuration says about the cluster, from cmap, votequorum and the key file.
#include <corosync/cmap.h>
#include <corosync/votequorum.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlm/membership_corosync.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"

static bool get_string(cmap_handle_t cmap, const char *key, char *text, size_t bytes)
{
    char *value = NULL;
    if (cmap_get_string(cmap, key, &value) != CS_OK)
        return false;
    snprintf(text, bytes, "%s", value);
    free(value);
    return true;
}

static uint32_t get_number(cmap_handle_t cmap, const char *key)
{
    uint32_t value = 0;
    return cmap_get_uint32(cmap, key, &value) == CS_OK ? value : 0;
}

static void add_address(struct transport_node *node, const char *text)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    if (node->address_count == TRANSPORT_ADDRESSES_MAX ||
        getaddrinfo(text, NULL, &hints, &found) != 0)
        return;
    if (found->ai_addrlen <= sizeof(node->addresses[0]))
        memcpy(&node->addresses[node->address_count++], found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
}

static bool read_node(cmap_handle_t cmap, uint32_t position, struct transport_node *node)
{
    char key[CMAP_KEYNAME_MAXLEN], text[NI_MAXHOST];
    memset(node, 0, sizeof(*node));
    snprintf(key, sizeof(key), "nodelist.node.%u.nodeid", position);
    node->node_id = get_number(cmap, key);
    if (node->node_id == 0)
        return false;
    for (uint32_t ring = 0; ring < TRANSPORT_ADDRESSES_MAX; ring++) {
        snprintf(key, sizeof(key), "nodelist.node.%u.ring%u_addr", position, ring);
        if (get_string(cmap, key, text, sizeof(text)))
            add_address(node, text);
    }
    snprintf(key, sizeof(key), "nodelist.node.%u.name", position);
    if (!get_string(cmap, key, node->name, sizeof(node->name)))
        snprintf(node->name, sizeof(node->name), "node%u", node->node_id);
    return node->address_count > 0;
}

// Positions may have gaps: a node that was removed leaves one.
static int read_nodes(cmap_handle_t cmap, struct corosync_config *config)
{
    enum { POSITIONS_MAX = 4 * MEMBERSHIP_NODES_MAX };
    struct transport_node node;
    for (uint32_t position = 0; position < POSITIONS_MAX; position++) {
        if (!read_node(cmap, position, &node))
            continue;
        if (config->node_count == MEMBERSHIP_NODES_MAX)
            return -E2BIG;
        config->nodes[config->node_count++] = node;
    }
    return 0;
}

static int read_key(cmap_handle_t cmap, struct corosync_config *config, struct log *log)
{
    char path[4096] = "/etc/corosync/authkey";
    get_string(cmap, "totem.keyfile", path, sizeof(path));
    CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, config->key, sizeof(config->key)) : -1;
    if (got <= 0) {
        log_error(log, ERROR_COROSYNC, "corosync's key %s cannot be read: %s", path,
                  got < 0 ? strerror(errno) : "it is empty");
        return -ERROR_COROSYNC;
    }
    config->key_bytes = (size_t)got;
    return 0;
}

// Rule 26: of two nodes both stay quorate after a cut. Only with wait_for_all does one that comes
// up alone wait for the other.
static int read_quorum(struct corosync_config *config, struct log *log)
{
    votequorum_callbacks_t callbacks = {0};
    votequorum_handle_t handle;
    struct votequorum_info info = {0};
    if (votequorum_initialize(&handle, &callbacks) != CS_OK) {
        log_error(log, ERROR_COROSYNC, "corosync's quorum cannot be asked");
        return -ERROR_COROSYNC;
    }
    cs_error_t result = votequorum_getinfo(handle, config->node_id, &info);
    votequorum_finalize(handle);
    if (result != CS_OK) {
        log_error(log, ERROR_COROSYNC, "corosync's quorum gives no answer (error %d)", (int)result);
        return -ERROR_COROSYNC;
    }
    config->is_two_node = (info.flags & VOTEQUORUM_INFO_TWONODE) != 0;
    config->has_wait_for_all = (info.flags & VOTEQUORUM_INFO_WAIT_FOR_ALL) != 0;
    if (!config->is_two_node || config->has_wait_for_all)
        return 0;
    log_error(log, ERROR_TWO_NODE, "%s", error_text(-ERROR_TWO_NODE));
    return -ERROR_TWO_NODE;
}

static void make_cluster_id(struct corosync_config *config)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    uint8_t bytes[COROSYNC_NAME_BYTES + COROSYNC_KEY_BYTES_MAX] = {0};
    memcpy(bytes, config->cluster_name, sizeof(config->cluster_name));
    memcpy(bytes + COROSYNC_NAME_BYTES, config->key, config->key_bytes);
    SHA256(bytes, COROSYNC_NAME_BYTES + config->key_bytes, digest);
    OPENSSL_cleanse(bytes, sizeof(bytes));
    memcpy(config->cluster_id, digest, sizeof(config->cluster_id));
}

static int read_all(cmap_handle_t cmap, struct corosync_config *config, struct log *log)
{
    memset(config, 0, sizeof(*config));
    get_string(cmap, "totem.cluster_name", config->cluster_name, sizeof(config->cluster_name));
    config->token_ms = get_number(cmap, "runtime.config.totem.token");
    int result = read_nodes(cmap, config);
    if (result != 0)
        return result;
    struct transport_node self;
    if (!read_node(cmap, get_number(cmap, "nodelist.local_node_pos"), &self)) {
        log_error(log, ERROR_COROSYNC, "this node is not in corosync's node list");
        return -ERROR_COROSYNC;
    }
    config->node_id = self.node_id;
    result = read_key(cmap, config, log);
    if (result == 0)
        result = read_quorum(config, log);
    if (result == 0)
        make_cluster_id(config);
    return result;
}

int corosync_config_read(struct corosync_config *config, struct log *log)
{
    cmap_handle_t cmap;
    if (cmap_initialize(&cmap) != CS_OK) {
        log_error(log, ERROR_COROSYNC, "%s: is it running?", error_text(-ERROR_COROSYNC));
        return -ERROR_COROSYNC;
    }
    int result = read_all(cmap, config, log);
    cmap_finalize(cmap);
    return result;
}

const struct transport_node *corosync_config_node(const struct corosync_config *config,
                                                  uint32_t node_id)
{
    for (uint32_t i = 0; i < config->node_count; i++)
        if (config->nodes[i].node_id == node_id)
            return &config->nodes[i];
    return NULL;
}

void corosync_config_wipe(struct corosync_config *config)
{
    OPENSSL_cleanse(config->key, sizeof(config->key));
    config->key_bytes = 0;
}
