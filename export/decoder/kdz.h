/* SPDX-License-Identifier: Apache-2.0
 *
 * kdz: turns a packed file of kerascnn (NAME.tflite.kdz) into the .tflite file, bit for bit.
 *
 *     kdz_info info;
 *     if (kdz_inspect(packed, packed_size, &info) != KDZ_OK) ...
 *     output = malloc(info.output_size);
 *     workspace = malloc(info.workspace_size);
 *     code = kdz_unpack(packed, packed_size, output, info.output_size, workspace, info.workspace_size);
 *
 * C99 and nothing else: no library beside memcpy and memset, no allocation, no state between calls, no recursion, less
 * than 4 KB of stack. Any input is safe: what is cut, altered or made up gives an error code, reads nothing outside of
 * the packed bytes and writes nothing outside of the two buffers. Several threads may unpack at a time, each with
 * buffers of its own.
 */
#ifndef KDZ_H
#define KDZ_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KDZ_FORMAT 1 /* the version of the format that is read */

typedef enum kdz_code {
    KDZ_OK = 0,
    KDZ_NOT_PACKED = 1,      /* it does not begin as a packed file does */
    KDZ_OTHER_VERSION = 2,   /* a packed file of another version of the format */
    KDZ_CUT = 3,             /* fewer bytes than the file says it has */
    KDZ_DAMAGED = 4,         /* altered, or made up */
    KDZ_OUTPUT_SMALL = 5,    /* the buffer for the .tflite file has fewer than info.output_size bytes */
    KDZ_WORKSPACE_SMALL = 6, /* the workspace has fewer than info.workspace_size bytes */
    KDZ_ARGUMENT = 7         /* a null pointer */
} kdz_code;

typedef struct kdz_info {
    uint32_t output_size;  /* bytes of the .tflite file */
    size_t workspace_size; /* bytes that kdz_unpack needs beside it, on this machine */
    uint32_t weights;      /* weights that are decoded: the time is bounded by these, ... */
    uint32_t plain_size;   /* ... by these bytes, which are coded otherwise, and by output_size */
} kdz_info;

/* Checks the header, the size and the checksum of a packed file, and says what unpacking takes. */
kdz_code kdz_inspect(const void *packed, size_t packed_size, kdz_info *info);

/* Unpacks into output[0 .. info.output_size - 1]. What is in `output` after an error is not the .tflite file.
 * The buffers must not overlap; they may have any alignment, and be larger than needed. */
kdz_code kdz_unpack(const void *packed, size_t packed_size, void *output, size_t output_size, void *workspace,
                    size_t workspace_size);

/* A short English text for a code. */
const char *kdz_message(kdz_code code);

#ifdef __cplusplus
}
#endif

#endif
