/* Two libraries of NVIDIA's driver as a program finds them, with the answers of one machine: GPU 0 an H100 in MIG mode
   with one slice, GPU 1 an RTX 4090. Built by test_nvidia_libraries.py, so that nvidia-ml-py and our own calls run. */

#include <stdio.h>
#include <string.h>

enum { OK = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6 };
static char whole[2], slice;

static int is_slice(void *device) { return device == &slice; }
static int index_of(void *device) { return device == &whole[1]; }

int nvmlInit_v2(void) { return OK; }
int nvmlInitWithFlags(unsigned flags) { (void)flags; return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == OK ? "Success" : "Not Supported"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &whole[index]; return OK; }

int nvmlDeviceGetName(void *device, char *name, unsigned length) {
    const char *text = is_slice(device) ? "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
                       : index_of(device) ? "NVIDIA GeForce RTX 4090"
                                          : "NVIDIA H100 80GB HBM3";
    snprintf(name, length, "%s", text);
    return OK;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "%s", is_slice(device) ? "MIG-0001" : index_of(device) ? "GPU-0002" : "GPU-0001");
    return OK;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    snprintf(version, length, "550.54.15");
    return OK;
}

struct memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
    unsigned long long mib = 1024 * 1024;
    memory->total = (is_slice(device) ? 9984 : index_of(device) ? 24564 : 81559) * mib;
    memory->used = (index_of(device) ? 2564 : 84) * mib;
    memory->free = memory->total - memory->used;
    return OK;
}

struct utilization { unsigned gpu, memory; };
int nvmlDeviceGetUtilizationRates(void *device, struct utilization *rates) {
    if (!index_of(device)) return NOT_SUPPORTED;
    rates->gpu = 63;
    rates->memory = 40;
    return OK;
}

int nvmlDeviceGetMigMode(void *device, unsigned *now, unsigned *pending) {
    if (index_of(device)) return NOT_SUPPORTED;
    *now = *pending = 1;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(void *device, unsigned *count) { (void)device; *count = 7; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, unsigned index, void **found) {
    (void)device;
    if (index != 2) return NOT_FOUND;
    *found = &slice;
    return OK;
}

int cuInit(unsigned flags) { (void)flags; return OK; }
int cuDriverGetVersion(int *version) { *version = 12040; return OK; }
int cuDeviceGet(int *device, int index) { *device = index; return index > 1; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (device ? 24110ull : 81079ull) << 20; return OK; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 13: *value = device ? 2520000 : 1980000; return OK;
    case 16: *value = device ? 128 : 132; return OK;
    case 18: *value = 0; return OK;
    case 36: *value = device ? 10501000 : 2619000; return OK;
    case 37: *value = device ? 384 : 5120; return OK;
    case 75: *value = device ? 8 : 9; return OK;
    case 76: *value = device ? 9 : 0; return OK;
    }
    return 1;
}
