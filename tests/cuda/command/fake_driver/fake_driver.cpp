// A libcuda.so.1 that answers as NVIDIA's driver does where there is no GPU; or, with FAKE_DEVICE, that
// promises one and then lacks what it takes to run on it.

#ifndef FAKE_DRIVER_VERSION
#define FAKE_DRIVER_VERSION 13000
#endif

extern "C" {
constexpr int kNoDevice = 100;  // CUDA_ERROR_NO_DEVICE

#ifdef FAKE_DEVICE
constexpr int kCapabilityMajor = 75;  // of CUdevice_attribute

int cuInit(unsigned) { return 0; }
int cuDeviceGetCount(int* count) {
  *count = 1;
  return 0;
}
int cuDeviceGetName(char* name, int, int) {
  name[0] = '\0';
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
  *value = attribute == kCapabilityMajor ? 9 : 0;
  return 0;
}
#else
int cuInit(unsigned) { return kNoDevice; }
int cuDeviceGetCount(int*) { return kNoDevice; }
int cuDeviceGetName(char*, int, int) { return kNoDevice; }
int cuDeviceGetAttribute(int*, int, int) { return kNoDevice; }
#endif
int cuDriverGetVersion(int* version) {
  *version = FAKE_DRIVER_VERSION;
  return 0;
}
}
