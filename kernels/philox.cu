// Philox4x32-10: random bits as a function of a key and a counter (Salmon et al. 2011).
#include "common.cuh"

extern "C" __global__ void philox_u32(uint32* out, int64 size, uint64 key, uint64 offset) {
    for (int64 i = first_index(); i * 4 < size; i += grid_stride()) {
        uint64 block = offset + (uint64)i;
        uint32 c0 = (uint32)block, c1 = (uint32)(block >> 32), c2 = 0, c3 = 0;
        uint32 k0 = (uint32)key, k1 = (uint32)(key >> 32);
        for (int round = 0; round < 10; round++) {
            uint64 a = (uint64)0xD2511F53u * c0;
            uint64 b = (uint64)0xCD9E8D57u * c2;
            c0 = (uint32)(b >> 32) ^ c1 ^ k0;
            c1 = (uint32)b;
            c2 = (uint32)(a >> 32) ^ c3 ^ k1;
            c3 = (uint32)a;
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        uint32 words[4] = {c0, c1, c2, c3};
        for (int64 k = 0; k < 4 && i * 4 + k < size; k++) out[i * 4 + k] = words[k];
    }
}
