# SPDX-License-Identifier: Apache-2.0
#
# caflip's boot script for U-Boot: takes the first slot of BOOT_ORDER that is good or has tries
# left, counts the try down and saves it, then loads that slot's kernel with `caflip.slot=NAME`.
#
#     mkimage -A arm64 -T script -C none -d uboot.cmd boot.scr
#
# Needs the hush shell and the commands test, part, load and booti. What may be set beforehand, in
# the environment or in a line above `source`; nothing of it is stored by this script:
#
#     caflip_load       command that reads the variables       default: U-Boot has done it
#     caflip_save       command that stores them               saveenv
#     caflip_disk       interface and number                   ${devtype} ${devnum}
#     caflip_part_NAME  partition of a slot, hexadecimal       2 for A, 3 for B
#     caflip_root_NAME  root= of a slot                        PARTUUID=… of its partition
#     caflip_kernel     file on it                             /boot/Image
#     caflip_initrd     file on it                             none
#     caflip_fdt        file on it                             the tree that U-Boot runs with
#     caflip_args       more for the kernel's command line     none
#     caflip_start      command that boots ${slot}, root device ${root}, in place of the last part
#
# Names in lower case without caflip_ are variables of the shell: they are never saved.

if test -n "${caflip_load}"; then run caflip_load; fi

if test -z "${BOOT_ORDER}"; then
  echo "caflip: nothing stored yet, starting with 3 tries for A and B"
  setenv BOOT_ORDER "A B"
  setenv BOOT_A_OK 0
  setenv BOOT_A_LEFT 3
  setenv BOOT_B_OK 0
  setenv BOOT_B_LEFT 3
fi

# One pass over the order. A counted slot is chosen with the count that is to be saved.
chosen=
count=
good=
for name in ${BOOT_ORDER}; do
  ok=
  left=
  # The names of these variables depend on the slot: only a second expansion reads them.
  setenv caflip_get "ok=\${BOOT_${name}_OK}; left=\${BOOT_${name}_LEFT}"
  run caflip_get
  if test "${ok}" = 1; then
    if test -z "${good}"; then good=${name}; fi
    if test -z "${chosen}"; then chosen=${name}; fi
  elif test -z "${chosen}"; then
    # In place of `setexpr`, which small builds leave out. One digit; anything else cannot boot.
    rest=
    if test "${left}" = 1; then rest=0; fi
    if test "${left}" = 2; then rest=1; fi
    if test "${left}" = 3; then rest=2; fi
    if test "${left}" = 4; then rest=3; fi
    if test "${left}" = 5; then rest=4; fi
    if test "${left}" = 6; then rest=5; fi
    if test "${left}" = 7; then rest=6; fi
    if test "${left}" = 8; then rest=7; fi
    if test "${left}" = 9; then rest=8; fi
    if test "${left}" = a; then rest=9; fi
    if test "${left}" = b; then rest=a; fi
    if test "${left}" = c; then rest=b; fi
    if test "${left}" = d; then rest=c; fi
    if test "${left}" = e; then rest=d; fi
    if test "${left}" = f; then rest=e; fi
    if test -n "${rest}"; then
      chosen=${name}
      count=${rest}
    fi
  fi
done
setenv caflip_get

if test -z "${chosen}"; then
  # No slot is good and all tries are used up: one more for each, rather than to stay here. Slots
  # that were marked bad are not in the order and get none.
  if test "${BOOT_ORDER}" = none; then
    echo "caflip: all slots were marked bad"
  else
    echo "caflip: no slot can boot; each one in the order gets one more try"
    for name in ${BOOT_ORDER}; do setenv BOOT_${name}_LEFT 1; done
    if test -n "${caflip_save}"; then run caflip_save; else saveenv; fi
  fi
  reset
fi

if test -n "${count}"; then
  setenv BOOT_${chosen}_LEFT ${count}
  saved=no
  if test -n "${caflip_save}"; then
    if run caflip_save; then saved=yes; fi
  else
    if saveenv; then saved=yes; fi
  fi
  if test "${saved}" = no; then
    # A try that is not counted would be tried for ever.
    echo "caflip: the count of slot ${chosen} cannot be saved, only a good slot may boot"
    chosen=${good}
    if test -z "${chosen}"; then
      echo "caflip: there is none"
      reset
    fi
  fi
fi

# First the slot that was chosen; if its kernel cannot even be loaded, the first good one.
for slot in ${chosen} ${good}; do
  echo "caflip: slot ${slot}"
  part=
  root=
  setenv caflip_get "part=\${caflip_part_${slot}}; root=\${caflip_root_${slot}}"
  run caflip_get
  if test -z "${part}"; then
    if test "${slot}" = A; then part=2; fi
    if test "${slot}" = B; then part=3; fi
  fi
  disk="${caflip_disk}"
  if test -z "${disk}"; then disk="${devtype} ${devnum}"; fi
  if test -z "${root}"; then
    if part uuid ${disk}:${part} caflip_uuid; then root="PARTUUID=${caflip_uuid}"; fi
  fi
  setenv bootargs "root=${root} rootwait ${caflip_args} caflip.slot=${slot}"
  if test -n "${caflip_start}"; then
    run caflip_start
  else
    kernel="${caflip_kernel}"
    if test -z "${kernel}"; then kernel=/boot/Image; fi
    tree="${fdtcontroladdr}"
    if test -n "${caflip_fdt}"; then
      tree=
      if load ${disk}:${part} ${fdt_addr_r} ${caflip_fdt}; then tree="${fdt_addr_r}"; fi
    fi
    ramdisk=-
    if test -n "${caflip_initrd}"; then
      ramdisk=
      if load ${disk}:${part} ${ramdisk_addr_r} ${caflip_initrd}; then
        ramdisk="${ramdisk_addr_r}:${filesize}"
      fi
    fi
    if test -n "${tree}" && test -n "${ramdisk}"; then
      if load ${disk}:${part} ${kernel_addr_r} ${kernel}; then
        booti ${kernel_addr_r} ${ramdisk} ${tree}
      fi
    fi
  fi
  echo "caflip: slot ${slot} did not start"
done

# The try is counted: a reset goes on with the next one, or with the next slot.
reset
