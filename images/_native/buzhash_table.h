/* SPDX-License-Identifier: Apache-2.0 */
/* casync's buzhash table: 256 distinct words whose xor is 0. SHA-256 of the little-endian
 * bytes: 5b52080d38287da9d2e278466e3e0db7ec98e5e8b226f50612a56fa012b1f660.
 * `WORD(x)` makes an initializer of one word, so that each kernel gets the form it reads best. */
#ifndef CAFLIP_BUZHASH_TABLE_H
#define CAFLIP_BUZHASH_TABLE_H

#define BUZHASH_TABLE(WORD) \
    WORD(0x458be752), WORD(0xc10748cc), WORD(0xfbbcdbb8), WORD(0x6ded5b68), WORD(0xb10a82b5), \
    WORD(0x20d75648), WORD(0xdfc5665f), WORD(0xa8428801), WORD(0x7ebf5191), WORD(0x841135c7), \
    WORD(0x65cc53b3), WORD(0x280a597c), WORD(0x16f60255), WORD(0xc78cbc3e), WORD(0x294415f5), \
    WORD(0xb938d494), WORD(0xec85c4e6), WORD(0xb7d33edc), WORD(0xe549b544), WORD(0xfdeda5aa), \
    WORD(0x882bf287), WORD(0x3116737c), WORD(0x05569956), WORD(0xe8cc1f68), WORD(0x0806ac5e), \
    WORD(0x22a14443), WORD(0x15297e10), WORD(0x50d090e7), WORD(0x4ba60f6f), WORD(0xefd9f1a7), \
    WORD(0x5c5c885c), WORD(0x82482f93), WORD(0x9bfd7c64), WORD(0x0b3e7276), WORD(0xf2688e77), \
    WORD(0x8fad8abc), WORD(0xb0509568), WORD(0xf1ada29f), WORD(0xa53efdfe), WORD(0xcb2b1d00), \
    WORD(0xf2a9e986), WORD(0x6463432b), WORD(0x95094051), WORD(0x5a223ad2), WORD(0x9be8401b), \
    WORD(0x61e579cb), WORD(0x1a556a14), WORD(0x5840fdc2), WORD(0x9261ddf6), WORD(0xcde002bb), \
    WORD(0x52432bb0), WORD(0xbf17373e), WORD(0x7b7c222f), WORD(0x2955ed16), WORD(0x9f10ca59), \
    WORD(0xe840c4c9), WORD(0xccabd806), WORD(0x14543f34), WORD(0x1462417a), WORD(0x0d4a1f9c), \
    WORD(0x087ed925), WORD(0xd7f8f24c), WORD(0x7338c425), WORD(0xcf86c8f5), WORD(0xb19165cd), \
    WORD(0x9891c393), WORD(0x325384ac), WORD(0x0308459d), WORD(0x86141d7e), WORD(0xc922116a), \
    WORD(0xe2ffa6b6), WORD(0x53f52aed), WORD(0x2cd86197), WORD(0xf5b9f498), WORD(0xbf319c8f), \
    WORD(0xe0411fae), WORD(0x977eb18c), WORD(0xd8770976), WORD(0x9833466a), WORD(0xc674df7f), \
    WORD(0x8c297d45), WORD(0x8ca48d26), WORD(0xc49ed8e2), WORD(0x7344f874), WORD(0x556f79c7), \
    WORD(0x6b25eaed), WORD(0xa03e2b42), WORD(0xf68f66a4), WORD(0x8e8b09a2), WORD(0xf2e0e62a), \
    WORD(0x0d3a9806), WORD(0x9729e493), WORD(0x8c72b0fc), WORD(0x160b94f6), WORD(0x450e4d3d), \
    WORD(0x7a320e85), WORD(0xbef8f0e1), WORD(0x21d73653), WORD(0x4e3d977a), WORD(0x1e7b3929), \
    WORD(0x1cc6c719), WORD(0xbe478d53), WORD(0x8d752809), WORD(0xe6d8c2c6), WORD(0x275f0892), \
    WORD(0xc8acc273), WORD(0x4cc21580), WORD(0xecc4a617), WORD(0xf5f7be70), WORD(0xe795248a), \
    WORD(0x375a2fe9), WORD(0x425570b6), WORD(0x8898dcf8), WORD(0xdc2d97c4), WORD(0x0106114b), \
    WORD(0x364dc22f), WORD(0x1e0cad1f), WORD(0xbe63803c), WORD(0x5f69fac2), WORD(0x4d5afa6f), \
    WORD(0x1bc0dfb5), WORD(0xfb273589), WORD(0x0ea47f7b), WORD(0x3c1c2b50), WORD(0x21b2a932), \
    WORD(0x6b1223fd), WORD(0x2fe706a8), WORD(0xf9bd6ce2), WORD(0xa268e64e), WORD(0xe987f486), \
    WORD(0x3eacf563), WORD(0x1ca2018c), WORD(0x65e18228), WORD(0x2207360a), WORD(0x57cf1715), \
    WORD(0x34c37d2b), WORD(0x1f8f3cde), WORD(0x93b657cf), WORD(0x31a019fd), WORD(0xe69eb729), \
    WORD(0x8bca7b9b), WORD(0x4c9d5bed), WORD(0x277ebeaf), WORD(0xe0d8f8ae), WORD(0xd150821c), \
    WORD(0x31381871), WORD(0xafc3f1b0), WORD(0x927db328), WORD(0xe95effac), WORD(0x305a47bd), \
    WORD(0x426ba35b), WORD(0x1233af3f), WORD(0x686a5b83), WORD(0x50e072e5), WORD(0xd9d3bb2a), \
    WORD(0x8befc475), WORD(0x487f0de6), WORD(0xc88dff89), WORD(0xbd664d5e), WORD(0x971b5d18), \
    WORD(0x63b14847), WORD(0xd7d3c1ce), WORD(0x7f583cf3), WORD(0x72cbcb09), WORD(0xc0d0a81c), \
    WORD(0x7fa3429b), WORD(0xe9158a1b), WORD(0x225ea19a), WORD(0xd8ca9ea3), WORD(0xc763b282), \
    WORD(0xbb0c6341), WORD(0x020b8293), WORD(0xd4cd299d), WORD(0x58cfa7f8), WORD(0x91b4ee53), \
    WORD(0x37e4d140), WORD(0x95ec764c), WORD(0x30f76b06), WORD(0x5ee68d24), WORD(0x679c8661), \
    WORD(0xa41979c2), WORD(0xf2b61284), WORD(0x4fac1475), WORD(0x0adb49f9), WORD(0x19727a23), \
    WORD(0x15a7e374), WORD(0xc43a18d5), WORD(0x3fb1aa73), WORD(0x342fc615), WORD(0x924c0793), \
    WORD(0xbee2d7f0), WORD(0x8a279de9), WORD(0x4aa2d70c), WORD(0xe24dd37f), WORD(0xbe862c0b), \
    WORD(0x177c22c2), WORD(0x5388e5ee), WORD(0xcd8a7510), WORD(0xf901b4fd), WORD(0xdbc13dbc), \
    WORD(0x6c0bae5b), WORD(0x64efe8c7), WORD(0x48b02079), WORD(0x80331a49), WORD(0xca3d8ae6), \
    WORD(0xf3546190), WORD(0xfed7108b), WORD(0xc49b941b), WORD(0x32baf4a9), WORD(0xeb833a4a), \
    WORD(0x88a3f1a5), WORD(0x3a91ce0a), WORD(0x3cc27da1), WORD(0x7112e684), WORD(0x4a3096b1), \
    WORD(0x3794574c), WORD(0xa3c8b6f3), WORD(0x1d213941), WORD(0x6e0a2e00), WORD(0x233479f1), \
    WORD(0x0f4cd82f), WORD(0x6093edd2), WORD(0x5d7d209e), WORD(0x464fe319), WORD(0xd4dcac9e), \
    WORD(0x0db845cb), WORD(0xfb5e4bc3), WORD(0xe0256ce1), WORD(0x09fb4ed1), WORD(0x0914be1e), \
    WORD(0xa5bdb2c3), WORD(0xc6eb57bb), WORD(0x30320350), WORD(0x3f397e91), WORD(0xa67791bc), \
    WORD(0x86bc0e2c), WORD(0xefa0a7e2), WORD(0xe9ff7543), WORD(0xe733612c), WORD(0xd185897b), \
    WORD(0x329e5388), WORD(0x91dd236b), WORD(0x2ecb0d93), WORD(0xf4d82a3d), WORD(0x35b5c03f), \
    WORD(0xe4e606f0), WORD(0x05b21843), WORD(0x37b45964), WORD(0x5eff22f4), WORD(0x6027f4cc), \
    WORD(0x77178b3c), WORD(0xae507131), WORD(0x7bf7cabc), WORD(0xf9c18d66), WORD(0x593ade65), \
    WORD(0xd95ddf11)

#define ROTATED_LEFT(x, n) ((uint32_t)((uint64_t)(x) << (n) | (uint64_t)(x) >> (32 - (n))))

#endif
