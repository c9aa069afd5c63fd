// SPDX-License-Identifier: Apache-2.0
// Corosync's configuration as its cmap shows it: names, addresses, quorum's options, the key.
#include <corosync/cmap.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dlm/membership_corosync.h"
#include "fs/base/check.h"
#include "fs/base/cleanup.h"
#include "fs/base/error.h"

static const char default_key_file[] = "/etc/corosync/authkey";

static int refuse(struct log *log, const char *why)
{
    log_error(log, ERROR_COROSYNC, "%s: %s", error_text(-ERROR_COROSYNC), why);
    return -ERROR_COROSYNC;
}

// A string that must be freed; NULL if the key is not set.
static char *get_string(cmap_handle_t cmap, const char *key)
{
    char *value = NULL;
    return cmap_get_string(cmap, key, &value) == CS_OK ? value : NULL;
}

static uint32_t get_number(cmap_handle_t cmap, const char *key, uint32_t otherwise)
{
    uint32_t value;
    uint8_t small;
    if (cmap_get_uint32(cmap, key, &value) == CS_OK)
        return value;
    return cmap_get_uint8(cmap, key, &small) == CS_OK ? small : otherwise;
}

// --- the node list ---------------------------------------------------------------------------

static bool resolve(const char *host, struct sockaddr_storage *address)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return false;
    memset(address, 0, sizeof(*address));
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

static void read_addresses(cmap_handle_t cmap, uint32_t position, struct transport_node *node,
                           struct log *log)
{
    for (int ring = 0; ring < TRANSPORT_ADDRESSES_MAX; ring++) {
        char key[CMAP_KEYNAME_MAXLEN];
        snprintf(key, sizeof(key), "nodelist.node.%u.ring%d_addr", position, ring);
        CLEANUP_FREE char *host = get_string(cmap, key);
        if (host == NULL)
            continue;
        if (node->name[0] == '\0')
            text_copy(node->name, sizeof(node->name), host);
        if (resolve(host, &node->addresses[node->address_count]))
            node->address_count++;
        else
            log_warning(log, "corosync's %s: the address %s cannot be resolved", key, host);
    }
}

static int read_nodes(cmap_handle_t cmap, struct corosync_config *config, struct log *log)
{
    for (uint32_t position = 0;; position++) {
        char key[CMAP_KEYNAME_MAXLEN];
        snprintf(key, sizeof(key), "nodelist.node.%u.nodeid", position);
        uint32_t node_id = get_number(cmap, key, 0);
        if (node_id == 0)
            return 0;
        if (config->node_count == MEMBERSHIP_NODES_MAX)
            return -E2BIG;
        struct transport_node *node = &config->nodes[config->node_count++];
        node->node_id = node_id;
        snprintf(key, sizeof(key), "nodelist.node.%u.name", position);
        CLEANUP_FREE char *name = get_string(cmap, key);
        if (name != NULL)
            text_copy(node->name, sizeof(node->name), name);
        read_addresses(cmap, position, node, log);
    }
}

// --- the key ---------------------------------------------------------------------------------

static int read_key(cmap_handle_t cmap, struct corosync_config *config, struct log *log)
{
    CLEANUP_FREE char *path = get_string(cmap, "totem.keyfile");
    const char *key_file = path != NULL ? path : default_key_file;
    CLEANUP_CLOSE int file = open(key_file, O_RDONLY | O_CLOEXEC);
    ssize_t got = file >= 0 ? read(file, config->key, sizeof(config->key)) : -1;
    if (got > 0) {
        config->key_bytes = (size_t)got;
        return 0;
    }
    TEXT(why, 256);
    text_add(&why, "its key %s cannot be read (%s): make one with corosync-keygen", key_file,
             got == 0 ? "it is empty" : strerror(errno));
    return refuse(log, why.bytes);
}

static void make_cluster_id(struct corosync_config *config)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    CHECK(context != NULL);
    CHECK(EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1);
    EVP_DigestUpdate(context, "lunfs cluster", 13);
    EVP_DigestUpdate(context, config->cluster_name, strlen(config->cluster_name) + 1);
    EVP_DigestUpdate(context, config->key, config->key_bytes);
    EVP_DigestFinal_ex(context, digest, NULL);
    EVP_MD_CTX_free(context);
    memcpy(config->cluster_id, digest, sizeof(config->cluster_id));
}

// --- all of it -------------------------------------------------------------------------------

static int read_all(cmap_handle_t cmap, struct corosync_config *config, struct log *log)
{
    CLEANUP_FREE char *name = get_string(cmap, "totem.cluster_name");
    text_copy(config->cluster_name, sizeof(config->cluster_name), name != NULL ? name : "");
    char key[CMAP_KEYNAME_MAXLEN];
    snprintf(key, sizeof(key), "nodelist.node.%u.nodeid",
             get_number(cmap, "nodelist.local_node_pos", UINT32_MAX));
    config->node_id = get_number(cmap, key, 0);
    if (config->node_id == 0)
        return refuse(log, "this host is not in corosync's node list");
    config->token_ms = get_number(cmap, "runtime.config.totem.token", 1000);
    config->is_two_node = get_number(cmap, "quorum.two_node", 0) != 0;
    // two_node switches wait_for_all on unless it is set to 0 (votequorum(5)).
    config->has_wait_for_all =
        get_number(cmap, "quorum.wait_for_all", config->is_two_node ? 1 : 0) != 0;
    int result = read_nodes(cmap, config, log);
    if (result == 0)
        result = read_key(cmap, config, log);
    if (result != 0)
        return result;
    make_cluster_id(config);
    if (config->is_two_node && !config->has_wait_for_all) {
        log_error(log, ERROR_TWO_NODE, "%s: set it in corosync.conf's quorum section",
                  error_text(-ERROR_TWO_NODE));
        return -ERROR_TWO_NODE;
    }
    return 0;
}

int corosync_config_read(struct corosync_config *config, struct log *log)
{
    cmap_handle_t cmap;
    memset(config, 0, sizeof(*config));
    if (cmap_initialize(&cmap) != CS_OK)
        return refuse(log, "is it running? (systemctl status corosync)");
    int result = read_all(cmap, config, log);
    cmap_finalize(cmap);
    return result;
}

const struct transport_node *corosync_config_node(const struct corosync_config *config,
                                                  uint32_t node_id)
{
    for (uint32_t i = 0; i < config->node_count; i++) {
        if (config->nodes[i].node_id == node_id)
            return &config->nodes[i];
    }
    return NULL;
}

void corosync_config_wipe(struct corosync_config *config)
{
    explicit_bzero(config->key, sizeof(config->key));
    config->key_bytes = 0;
}
