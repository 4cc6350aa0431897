/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tensor files: what is written comes back; what is malformed is refused with
 * the right code, and named.
 */
#include "config.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fileio.h"
#include "base/xalloc.h"
#include "store/safetensors.h"
#include "tests/util/store_util.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static int make_temp(void **state)
{
    const char *top = getenv("TMPDIR");
    char *path = xasprintf("%s/mneme-tensors-XXXXXX", top ? top : "/tmp");

    *state = mkdtemp(path);
    return *state ? 0 : -1;
}

static int remove_temp(void **state)
{
    int rc;

    fileio_fault = NULL;
    rc = fileio_remove_dir(*state, NULL);
    free(*state);
    return rc;
}

/* Every type, a scalar, an empty tensor, four dimensions. */
static void fill(struct tensor_list *l)
{
    const float f[6] = {1.5f, -2.0f, 0.0f, -0.0f, 1e-30f, 3e38f};
    const double d[2] = {1e300, -0.1};
    const int64_t i[1] = {INT64_MIN};
    const uint16_t u[4] = {0, 1, 256, 65535};
    const uint8_t b[3] = {0, 127, 255};

    tensor_add_copy(l, "b.f32", TENSOR_F32, 2, (size_t[]){2, 3}, f);
    tensor_add_copy(l, "a.f64", TENSOR_F64, 1, (size_t[]){2}, d);
    tensor_add_copy(l, "scalar", TENSOR_I64, 0, NULL, i);
    tensor_add_copy(l, "u\"16\"", TENSOR_U16, 4, (size_t[]){1, 2, 1, 2}, u);
    tensor_add_copy(l, "empty", TENSOR_F32, 2, (size_t[]){0, 7}, NULL);
    tensor_add_copy(l, "\xc3\xa4", TENSOR_U8, 1, (size_t[]){3}, b);
}

static void assert_same(const struct tensor_list *a,
                        const struct tensor_list *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        const struct tensor *x = &a->items[i];
        const struct tensor *y = tensor_find(b, x->name);

        assert_non_null(y);
        assert_int_equal(x->type, y->type);
        assert_int_equal(x->n_dims, y->n_dims);
        assert_memory_equal(x->shape, y->shape,
                            (size_t)x->n_dims * sizeof *x->shape);
        assert_int_equal((uintptr_t)y->data % 64, 0);
        assert_memory_equal(x->data, y->data, tensor_bytes(x));
    }
}

static void test_round_trip(void **state)
{
    const struct safetensors_pair pairs[] = {{"version", "7"},
                                             {"note", "a \"quoted\" \n line"}};
    char *path = fileio_join(*state, "x.safetensors");
    struct tensor_list in = TENSOR_LIST_INIT;
    struct tensor_list out = TENSOR_LIST_INIT;
    struct safetensors_file written;
    struct buf metadata = BUF_INIT;
    struct buf bytes = BUF_INIT;
    char sha256[SHA256_HEX];
    uint64_t header;

    fill(&in);
    assert_int_equal(safetensors_write(path, &in, pairs, 2, &written, NULL), 0);
    assert_int_equal(fileio_read(path, 1 << 20, &bytes, NULL), 0);
    assert_int_equal(bytes.len, written.bytes);
    checksum_sha256(bytes.data, bytes.len, sha256);
    assert_string_equal(sha256, written.sha256);
    memcpy(&header, bytes.data, 8);
    assert_int_equal(header % 8, 0);

    assert_int_equal(safetensors_read(path, written.sha256, bytes.len, &out,
                                      &metadata, NULL),
                     0);
    assert_same(&in, &out);
    assert_string_equal(metadata.data,
                        "{\"format\":\"pt\",\"version\":\"7\","
                        "\"note\":\"a \\\"quoted\\\" \\n line\"}");
    tensor_list_release(&out);
    assert_int_equal(
        util_read_tensors(bytes.data, bytes.len, &out, NULL, NULL), 0);
    assert_same(&in, &out);

    buf_release(&bytes);
    buf_release(&metadata);
    tensor_list_release(&in);
    tensor_list_release(&out);
    free(path);
}

static void test_large(void **state)
{
    char *path = fileio_join(*state, "large");
    struct tensor_list in = TENSOR_LIST_INIT;
    struct tensor_list out = TENSOR_LIST_INIT;
    struct safetensors_file a, b;
    float *f =
        tensor_add_copy(&in, "f", TENSOR_F32, 2, (size_t[]){1031, 1021}, NULL);

    for (size_t i = 0; i < (size_t)1031 * 1021; i++)
        f[i] = (float)i * 0.5f;
    assert_int_equal(safetensors_write(path, &in, NULL, 0, &a, NULL), 0);
    assert_int_equal(
        safetensors_read(path, a.sha256, UINT64_MAX, &out, NULL, NULL), 0);
    assert_same(&in, &out);
    unlink(path);
    assert_int_equal(safetensors_write(path, &out, NULL, 0, &b, NULL), 0);
    assert_string_equal(a.sha256, b.sha256);
    tensor_list_release(&in);
    tensor_list_release(&out);
    free(path);
}

/* A file in memory: the header as it stands, then n_data bytes. */
static int parse(const char *header, size_t n_data, struct tensor_list *out,
                 struct err *err)
{
    uint64_t length = strlen(header);
    size_t n = sizeof length + (size_t)length + n_data;
    char *file = xcalloc(n, 1);
    int rc;

    memcpy(file, &length, sizeof length);
    memcpy(file + sizeof length, header, (size_t)length);
    for (size_t i = 0; i < n_data; i++)
        file[n - n_data + i] = (char)(i + 1);
    rc = util_read_tensors(file, n, out, NULL, err);
    free(file);
    return rc;
}

#define T(dtype, shape, offsets)                                               \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *header;
    size_t n_data;
    int code;
} malformed[] = {
    {"", 0, ERR_CORRUPT},
    {"[]", 0, ERR_CORRUPT},
    {"7", 0, ERR_CORRUPT},
    {"null", 0, ERR_CORRUPT},
    {"{", 0, ERR_CORRUPT},
    {"{}}", 0, ERR_CORRUPT},
    {"{\"a\":1}", 0, ERR_CORRUPT},
    {"{\"a\":[]}", 0, ERR_CORRUPT},
    {"{\"a\":{}}", 0, ERR_CORRUPT},
    {"{\xff}", 0, ERR_CORRUPT},
    {"{\"\xff\":{}}", 0, ERR_CORRUPT},
    {"{\"a\\u0000b\":{}}", 0, ERR_CORRUPT},
    {"{}", 1, ERR_CORRUPT}, /* bytes that belong to nobody */
    {"{\"__metadata__\":[]}", 0, ERR_CORRUPT},
    {"{\"__metadata__\":{\"a\":1}}", 0, ERR_CORRUPT},
    {"{\"__metadata__\":{\"a\":{}}}", 0, ERR_CORRUPT},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, ERR_CORRUPT},
    {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     ERR_CORRUPT},
    {"{\"a\":" T("F8_E4M3", "[4]", "[0,4]") "}", 4, ERR_INVALID},
    {"{\"a\":" T("BOOL", "[4]", "[0,4]") "}", 4, ERR_INVALID},
    {"{\"a\":" T("f32", "[1]", "[0,4]") "}", 4, ERR_INVALID},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "1", "[0,4]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[-1]", "[0,4]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1.0]", "[0,4]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[\"1\"]", "[0,4]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1,1,1,1,1]", "[0,4]") "}", 4, ERR_LIMIT},
    /* products that overflow, with and without the element's size */
    {"{\"a\":" T("F32", "[4294967296,4294967296]", "[0,4]") "}", 4,
     ERR_CORRUPT},
    {"{\"a\":" T("F32", "[9223372036854775807,2]", "[0,4]") "}", 4,
     ERR_CORRUPT},
    {"{\"a\":" T("F64", "[2305843009213693952]", "[0,0]") "}", 0, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[4611686018427387904]", "[0,0]") "}", 0, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[99999999999999999999]", "[0,4]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1000000000000]", "[0,4]") "}", 4, ERR_CORRUPT},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "[0]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "[0,4,8]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "{}") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "[4,0]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "[-4,0]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "[0,8]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "[0,3]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[2]", "[0,4]") "}", 4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[]", "[0,8]") "}", 8, ERR_CORRUPT},
    /* a hole at the start, between, at the end; an overlap; one twice */
    {"{\"a\":" T("F32", "[1]", "[4,8]") "}", 8, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[8,12]") "}",
     12, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "[0,4]") "}", 5, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[2]", "[0,8]") ",\"b\":" T("F32", "[2]", "[4,12]") "}",
     12, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[0,4]") "}",
     4, ERR_CORRUPT},
    {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"a\":" T("F32", "[1]", "[4,8]") "}",
     8, ERR_CORRUPT},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],"
     "\"data_offsets\":[0,4]}}",
     4, ERR_CORRUPT},
};

static void test_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(malformed); i++) {
        struct tensor_list out = TENSOR_LIST_INIT;
        struct err err = ERR_INIT;
        int rc = parse(malformed[i].header, malformed[i].n_data, &out, &err);

        if (rc != malformed[i].code)
            fail_msg("%s: code %d: %s", malformed[i].header, rc, err.msg);
        assert_int_equal(strncmp(err.msg, "/proc/", 6), 0);
        assert_int_equal(out.n, 0);
        assert_null(out.items);
    }
}

static void test_nesting(void **state)
{
    size_t depth = 1000000;
    char *header = xmalloc(6 * depth + 1);
    struct tensor_list out = TENSOR_LIST_INIT;

    (void)state;
    memset(header, '[', depth);
    header[depth] = '\0';
    assert_int_equal(parse(header, 0, &out, NULL), ERR_CORRUPT);
    for (size_t i = 0; i < 700000; i++)
        memcpy(header + 5 * i, "{\"a\":", 6);
    assert_int_equal(parse(header, 0, &out, NULL), ERR_CORRUPT);
    free(header);
}

static void test_header_length(void **state)
{
    static const uint64_t lengths[] = {1, 8, 1ull << 32, UINT64_MAX,
                                       UINT64_MAX - 7};
    struct tensor_list out = TENSOR_LIST_INIT;
    char *large;
    uint64_t length;

    (void)state;
    for (size_t n = 0; n < 8; n++)
        assert_int_equal(
            util_read_tensors("\0\0\0\0\0\0\0", n, &out, NULL, NULL),
            ERR_CORRUPT);
    for (size_t i = 0; i < COUNT(lengths); i++)
        assert_int_equal(util_read_tensors(&lengths[i], 8, &out, NULL, NULL),
                         ERR_CORRUPT);
    length = SAFETENSORS_MAX_HEADER_BYTES + 1;
    large = xcalloc((size_t)length + 8, 1);
    memcpy(large, &length, sizeof length);
    assert_int_equal(
        util_read_tensors(large, (size_t)length + 8, &out, NULL, NULL),
        ERR_LIMIT);
    free(large);
}

/* Written by others: another order, an empty file, no metadata, 16 bits. */
static void test_others(void **state)
{
    struct tensor_list out = TENSOR_LIST_INIT;
    const struct tensor *t;

    (void)state;
    assert_int_equal(parse("{}", 0, &out, NULL), 0);
    assert_int_equal(out.n, 0);
    assert_int_equal(parse("{\"b\":" T("U8", "[2]", "[1,3]") ",\"a\":" T(
                               "U8", "[1,1]", "[0,1]") "}   ",
                           3, &out, NULL),
                     0);
    t = tensor_find(&out, "b");
    assert_memory_equal(t->data, "\x02\x03", 2);
    assert_memory_equal(tensor_find(&out, "a")->data, "\x01", 1);
    tensor_list_release(&out);
    assert_int_equal(parse("{\"a\":" T("U16", "[0]", "[0,0]") ",\"b\":" T(
                               "U8", "[]", "[0,1]") "}",
                           1, &out, NULL),
                     0);
    assert_int_equal(tensor_count(tensor_find(&out, "a")), 0);
    assert_int_equal(tensor_count(tensor_find(&out, "b")), 1);
    tensor_list_release(&out);
}

static void test_half(void **state)
{
    static const uint16_t half[] = {0x3c00, 0xc000, 0x0000, 0x8000, 0x0001,
                                    0x03ff, 0x7bff, 0x7c00, 0xfc00, 0x7e00};
    static const float wide[] = {1.0f,     -2.0f,    0.0f,
                                 -0.0f,    0x1p-24f, 0x3ffp-24f,
                                 65504.0f, INFINITY, -INFINITY};
    static const char header[] =
        "{\"h\":{\"dtype\":\"F16\",\"shape\":[10],\"data_offsets\":[0,20]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[20,24]}}";
    uint16_t bfloat[] = {0x3f80, 0xc049};
    uint64_t length = sizeof header - 1;
    struct tensor_list out = TENSOR_LIST_INIT;
    struct buf file = BUF_INIT;
    const float *f;

    (void)state;
    buf_add(&file, &length, 8);
    buf_adds(&file, header);
    buf_add(&file, half, sizeof half);
    buf_add(&file, bfloat, sizeof bfloat);
    assert_int_equal(
        util_read_tensors(file.data, file.len, &out, NULL, NULL), 0);
    assert_int_equal(tensor_find(&out, "h")->type, TENSOR_F32);
    f = tensor_find(&out, "h")->data;
    assert_memory_equal(f, wide, sizeof wide);
    assert_true(isnan(f[9]));
    f = tensor_find(&out, "b")->data;
    assert_true(f[0] == 1.0f && f[1] == -3.140625f);
    tensor_list_release(&out);
    buf_release(&file);
}

/* Cut at every length and flipped in every bit: never taken for the file. */
static void test_damage(void **state)
{
    char *path = fileio_join(*state, "d");
    struct tensor_list in = TENSOR_LIST_INIT;
    struct tensor_list out = TENSOR_LIST_INIT;
    struct safetensors_file written;
    struct buf bytes = BUF_INIT;
    struct err err = ERR_INIT;

    tensor_add_i64(&in, "n", (int64_t[]){1, 2, 3}, 3);
    assert_int_equal(safetensors_write(path, &in, NULL, 0, &written, NULL), 0);
    assert_int_equal(fileio_read(path, 4096, &bytes, NULL), 0);
    for (size_t n = 0; n < bytes.len; n++)
        assert_int_not_equal(
            util_read_tensors(bytes.data, n, &out, NULL, NULL), 0);
    for (size_t i = 0; i < bytes.len; i += 3) {
        bytes.data[i] ^= 1;
        assert_int_equal(fileio_write_sync(path, bytes.data, bytes.len, NULL),
                         0);
        assert_int_equal(
            safetensors_read(path, written.sha256, 4096, &out, NULL, &err),
            ERR_CORRUPT);
        assert_non_null(strstr(err.msg, path));
        assert_non_null(strstr(err.msg, "damaged"));
        assert_int_equal(out.n, 0);
        bytes.data[i] ^= 1;
    }
    assert_int_equal(
        safetensors_read(path, NULL, written.bytes - 1, &out, NULL, NULL),
        ERR_LIMIT);
    unlink(path);
    assert_int_equal(safetensors_read(path, NULL, 99, &out, NULL, NULL),
                     ERR_NOTFOUND);
    assert_int_equal(
        safetensors_read(*state, NULL, UINT64_MAX, &out, NULL, NULL),
        ERR_INVALID);
    tensor_list_release(&in);
    buf_release(&bytes);
    free(path);
}

static int faults_left;
static int fault_errno;

static int fault(const char *operation, const char *path)
{
    (void)operation;
    (void)path;
    return faults_left-- == 0 ? fault_errno : 0;
}

static void test_write_fails(void **state)
{
    char *path = fileio_join(*state, "f");
    struct tensor_list in = TENSOR_LIST_INIT;
    int rc = -1;

    fill(&in);
    for (int n = 0; rc != 0; n++) {
        fault_errno = n % 2 ? ENOSPC : EIO;
        faults_left = n;
        fileio_fault = fault;
        rc = safetensors_write(path, &in, NULL, 0, NULL, NULL);
        fileio_fault = NULL;
        assert_int_equal(fileio_exists(path), rc == 0);
        if (rc)
            assert_int_equal(rc, n % 2 ? ERR_FULL : ERR_IO);
        assert_true(n < 20);
    }
    /* A file of that name is not touched. */
    assert_int_equal(safetensors_write(path, &in, NULL, 0, NULL, NULL), ERR_IO);
    assert_true(fileio_exists(path));
    tensor_list_release(&in);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, make_temp,
                                        remove_temp),
        cmocka_unit_test_setup_teardown(test_large, make_temp, remove_temp),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_header_length),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_half),
        cmocka_unit_test_setup_teardown(test_damage, make_temp, remove_temp),
        cmocka_unit_test_setup_teardown(test_write_fails, make_temp,
                                        remove_temp),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
