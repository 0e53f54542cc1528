/* What libFuzzer runs: any bytes, as a packed file of just their length. Buffers have no byte more than is asked for. */
#include <stdlib.h>
#include <string.h>

#include "kdz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kdz_info info;
    uint8_t *packed = malloc(size ? size : 1), *output, *workspace;
    if (size) {
        memcpy(packed, data, size);
    }
    for (size_t i = 0; size >= 8 && i < 4; i++) {
        packed[4 + i] = (uint8_t)(size >> 8 * i); /* or nearly all inputs would end at their size */
    }
    if (kdz_inspect(packed, size, &info) == KDZ_OK && info.output_size < 1u << 18 && info.weights < 1u << 17 &&
        info.workspace_size < 1u << 20) {
        output = malloc(info.output_size ? info.output_size : 1);
        workspace = malloc(info.workspace_size);
        (void)kdz_unpack(packed, size, output, info.output_size, workspace, info.workspace_size);
        free(output);
        free(workspace);
    }
    free(packed);
    return 0;
}
