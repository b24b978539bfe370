/* mscms.dll (colour management), which Qt loads; Debian's Wine is built without it. */

#define STUB(name) __declspec(dllexport) long long name(void) { return 0; }

STUB(CloseColorProfile)
STUB(GetColorProfileFromHandle)
STUB(OpenColorProfileW)
STUB(WcsCreateIccProfile)
