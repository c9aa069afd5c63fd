// SPDX-License-Identifier: Apache-2.0
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include "dlm/transport.h"
#include "fs/base/check.h"

void transport_key_derive(uint8_t key[TRANSPORT_KEY_BYTES], const uint8_t *authkey,
                          size_t authkey_bytes, const uint8_t format_id[16])
{
    static const char purpose[] = "lunfs lock transport 1";
    char digest[] = "SHA256";
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    CHECK(kdf != NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    CHECK(context != NULL);
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)authkey, authkey_bytes),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)format_id, 16),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)purpose,
                                          sizeof(purpose) - 1),
        OSSL_PARAM_construct_end(),
    };
    CHECK(EVP_KDF_derive(context, key, TRANSPORT_KEY_BYTES, parameters) == 1);
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
}
