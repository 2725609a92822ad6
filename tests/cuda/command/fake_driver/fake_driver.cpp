// A libcuda.so.1 that answers as NVIDIA's driver does where there is no GPU.

#ifndef FAKE_DRIVER_VERSION
#define FAKE_DRIVER_VERSION 13000
#endif

extern "C" {
constexpr int kNoDevice = 100;  // CUDA_ERROR_NO_DEVICE

int cuInit(unsigned) { return kNoDevice; }
int cuDriverGetVersion(int* version) {
  *version = FAKE_DRIVER_VERSION;
  return 0;
}
int cuDeviceGetCount(int*) { return kNoDevice; }
int cuDeviceGetName(char*, int, int) { return kNoDevice; }
int cuDeviceGetAttribute(int*, int, int) { return kNoDevice; }
}
